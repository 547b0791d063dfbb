"""Tiny captioners of every family, built from configs and saved as folders: nothing is downloaded.

Their texts are gibberish that ends after a few words: a fifth of the vocabulary counts as end tokens, and
BLIP, which has one, is made to like it.
"""

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

WORDS = [f"word{index}" for index in range(96)]
SPECIALS = [
    "<pad>", "<s>", "</s>", "<unk>",
    "<image>", "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>",
]  # fmt: skip
VOCABULARY = [*SPECIALS, "USER", "ASSISTANT", ":", "describe", "the", "person", "coat", *WORDS]
ENDS = [2, *range(len(VOCABULARY) - 20, len(VOCABULARY))]
LLAVA_TEMPLATE = (
    "{% for m in messages %}USER : {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT :{% endif %}"
)
QWEN_TEMPLATE = LLAVA_TEMPLATE.replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>")
TEXT = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.4,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
CLIP_TOWER = {
    "model_type": "clip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
    "projection_dim": 32,
}


IS_OLD = int(transformers.__version__.split(".")[0]) < 5


def chat_tokenizer(kind=transformers.PreTrainedTokenizerFast):
    core = Tokenizer(
        models.WordLevel({word: index for index, word in enumerate(VOCABULARY)}, unk_token="<unk>")
    )
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    return kind(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=SPECIALS[4:],
        padding_side="right",
    )


def token(word):
    return VOCABULARY.index(word)


def save(folder, model, processor):
    for parameter in model.parameters():  # layers that start at zero would hide the image
        with torch.no_grad():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    model.generation_config.eos_token_id = ENDS
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def build_llava(folder):
    config = transformers.LlavaConfig(
        vision_config=dict(CLIP_TOWER),
        text_config={"model_type": "llama", **TEXT},
        **{"image_token_index" if IS_OLD else "image_token_id": token("<image>")},
        image_seq_length=16,
    )
    images = transformers.CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, do_center_crop=True
    )
    processor = transformers.LlavaProcessor(
        image_processor=images,
        tokenizer=chat_tokenizer(),
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=LLAVA_TEMPLATE,
        num_additional_image_tokens=1,
    )
    return save(folder, transformers.LlavaForConditionalGeneration(config), processor)


def build_llava_next(folder):
    pinpoints = [[32, 64], [64, 32], [64, 64], [96, 32], [32, 96]]
    config = transformers.LlavaNextConfig(
        vision_config=dict(CLIP_TOWER),
        text_config={"model_type": "llama", **TEXT},
        **{"image_token_index" if IS_OLD else "image_token_id": token("<image>")},
        image_grid_pinpoints=pinpoints,
    )
    images = transformers.LlavaNextImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_grid_pinpoints=pinpoints
    )
    processor = transformers.LlavaNextProcessor(
        image_processor=images,
        tokenizer=chat_tokenizer(),
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=LLAVA_TEMPLATE,
        num_additional_image_tokens=1,
    )
    return save(folder, transformers.LlavaNextForConditionalGeneration(config), processor)


def build_qwen2_5_vl(folder):
    config = transformers.Qwen2_5_VLConfig(
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4, "out_hidden_size": 32,
            "patch_size": 14, "fullatt_block_indexes": [1], "window_size": 56,
        },
        text_config={
            **TEXT, "rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": [1, 1, 2]},
        },
        **qwen_tokens(),
    )  # fmt: skip
    images = transformers.Qwen2VLImageProcessor(patch_size=14, merge_size=2)
    processor = transformers.Qwen2_5_VLProcessor(
        images, qwen_tokenizer(), transformers.Qwen2VLVideoProcessor(), chat_template=QWEN_TEMPLATE
    )
    return save(folder, transformers.Qwen2_5_VLForConditionalGeneration(config), processor)


def build_qwen3_vl(folder):
    config = transformers.Qwen3VLConfig(
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4, "out_hidden_size": 32,
            "patch_size": 16, "deepstack_visual_indexes": [0], "num_position_embeddings": 64,
        },
        text_config={
            **TEXT, "head_dim": 8,
            "rope_scaling": {"rope_type": "default", "mrope_section": [2, 1, 1], "mrope_interleaved": True},
        },
        **qwen_tokens(),
    )  # fmt: skip
    images = transformers.Qwen2VLImageProcessor(patch_size=16, merge_size=2)
    processor = transformers.Qwen3VLProcessor(
        images, qwen_tokenizer(), transformers.Qwen3VLVideoProcessor(), chat_template=QWEN_TEMPLATE
    )
    return save(folder, transformers.Qwen3VLForConditionalGeneration(config), processor)


def qwen_tokenizer():
    return chat_tokenizer(transformers.Qwen2TokenizerFast) if IS_OLD else chat_tokenizer()


def qwen_tokens():
    return {
        "image_token_id": token("<|image_pad|>"),
        "video_token_id": token("<|video_pad|>"),
        "vision_start_token_id": token("<|vision_start|>"),
        "vision_end_token_id": token("<|vision_end|>"),
    }


def build_blip(folder):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "a", "picture", "of", *WORDS]
    folder.mkdir(parents=True)
    Path(folder, "vocab.txt").write_text("\n".join(words) + "\n")
    config = transformers.BlipConfig(
        text_config={
            "vocab_size": len(words), "hidden_size": 32, "encoder_hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64,
            "bos_token_id": 5, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0,
            "initializer_range": 0.4,
        },
        vision_config={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "image_size": 32, "patch_size": 8,
        },
    )  # fmt: skip
    processor = transformers.BlipProcessor(
        transformers.BlipImageProcessor(size={"height": 32, "width": 32}),
        transformers.BertTokenizerFast.from_pretrained(folder),
    )
    model = transformers.BlipForConditionalGeneration(config)
    with torch.no_grad():  # BLIP has one end token alone, which a random model would hardly ever choose
        model.text_decoder.cls.predictions.bias[3] += 6.0
    return save(folder, model, processor)


def build_llama(folder):
    tokenizer = chat_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}USER : {{ m['content'] }} {% endfor %}ASSISTANT :"
    return save(folder, transformers.LlamaForCausalLM(transformers.LlamaConfig(**TEXT)), tokenizer)


BUILDERS = {
    "blip": build_blip,
    "llava": build_llava,
    "llava_next": build_llava_next,
    "qwen2_5_vl": build_qwen2_5_vl,
    "qwen3_vl": build_qwen3_vl,
}


def build_tiny(family, folder):
    """The folder of a tiny model, the same for the same family."""
    torch.manual_seed(0)
    return {**BUILDERS, "llama": build_llama}[family](folder)
