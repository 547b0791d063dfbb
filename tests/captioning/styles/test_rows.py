"""Styles as tokens of the vocabulary: where they stand, that they work, that nothing else changes."""

import pytest
import torch
from PIL import Image

from tests.captioning.test_engines_transformers import SIZES, make_engine
from tests.captioning.tiny_models import LLAVA_TEMPLATE, VOCABULARY, token
from tpr.captioning.styles.rows import StyleRows, add_styles, draw_rows, read_rows, set_rows, write_template
from tpr.errors import UserError

CHAT = ["llava", "llava_next", "qwen2_5_vl", "qwen3_vl"]


def styled(folder, styles=4, tokens=3, seed=0, strength=1.0):
    """A captioner whose styles have random rows, as far from one another as words are, or further."""
    captioner = make_engine(folder).captioner
    rows = add_styles(captioner, styles, tokens)
    set_rows(captioner.model, rows, strength * draw_rows(captioner.model, rows, "normal", seed))
    return captioner, rows


def image(index=0):
    height, width = SIZES[index]
    pixels = torch.randint(0, 255, (height, width, 3), generator=torch.Generator().manual_seed(index))
    return Image.fromarray(pixels.to(torch.uint8).numpy())


def write(captioner, images, instructions, styles, length=24):
    """Greedy texts."""
    return captioner.answer(
        images, instructions, None, styles=styles, max_new_tokens=length, repetition_penalty=1.0
    )


def test_rows_of_a_style():
    rows = StyleRows(styles=3000, tokens=10, first=32000)
    assert list(rows.of(7)) == list(range(32070, 32080))
    assert list(rows.of(2999)) == list(range(32000 + 29990, 32000 + 30000)) and rows.end == 62000
    for style in (3000, -1):
        with pytest.raises(UserError, match="there are 3,000 styles"):
            rows.of(style)


@pytest.mark.parametrize("family", CHAT)
def test_a_style_stands_right_behind_the_image(folders, family):
    captioner, rows = styled(folders(family))
    plain, told = (
        captioner.prepare([image()], ["describe the person"], [style])["input_ids"][0].tolist()
        for style in (None, 2)
    )
    place = next(index for index, number in enumerate(told) if number >= rows.first)
    assert told[place : place + 3] == list(rows.of(2))
    assert told[:place] + told[place + 3 :] == plain
    before = token("<|vision_end|>") if "qwen" in family else token("<image>")
    assert told[place - 1] == before and told[place + 3] == token("describe")


@pytest.mark.parametrize("family", CHAT)
def test_without_a_style_everything_is_as_it_was(folders, family):
    images, instructions = [image(0), image(1)], ["describe", "describe the person"]
    plain = write(make_engine(folders(family)).captioner, images, instructions, None)
    captioner, _ = styled(folders(family))
    assert write(captioner, images, instructions, None) == plain


@pytest.mark.slow
@pytest.mark.parametrize("family", CHAT)
def test_styled_texts_do_not_depend_on_their_batch_and_differ(folders, family):
    images = [image(index) for index in (0, 1, 2, 0, 0, 0)]
    instructions = ["describe", "describe the person coat", "describe the person", *["describe"] * 3]
    styles = [0, 1, None, 3, 2, 1]
    said = set()
    # Random weights may happen not to care for rows of one strength.
    for strength in (1.0, 5.0):
        captioner, _ = styled(folders(family), strength=strength)
        together = write(captioner, images, instructions, styles)
        for row, answer in enumerate(together):
            assert write(captioner, [images[row]], [instructions[row]], [styles[row]]) == [answer]
        said.add(len({together[row] for row in (0, 3, 4, 5)}))
    assert max(said) > 1, "all styles of one image say the same: styles do nothing"


def write_with_vectors(captioner, image, values):
    """Greedy tokens where (M, D) vectors are put among the embedded words, as HAM does it."""
    model = captioner.model
    inputs = captioner.prepare([image], ["describe the person"], None)
    is_image = inputs["input_ids"][0] == token("<image>")
    words = model.get_input_embeddings()(inputs["input_ids"])[0]
    seen = model.get_image_features(pixel_values=inputs["pixel_values"])
    words[is_image] = torch.cat(list(getattr(seen, "pooler_output", seen))).reshape(-1, words.shape[1])
    place = int(is_image.nonzero()[-1]) + 1
    spliced = torch.cat([words[:place], values, words[place:]])[None]
    mask = torch.ones(spliced.shape[:2], dtype=torch.long)
    return model.generate(inputs_embeds=spliced, attention_mask=mask)[0].tolist()


@torch.inference_mode()
def test_tokens_do_what_vectors_in_their_place_would(folders):
    captioner, rows = styled(folders("llava"))
    captioner.model.generation_config.eos_token_id = [2]  # longer texts prove more
    captioner.set_writer(12, 1.0)
    values = draw_rows(captioner.model, rows, "normal", 0)
    texts = []
    for style in range(4):
        inputs = captioner.prepare([image()], ["describe the person"], [style])
        texts.append(captioner.model.generate(**inputs)[0, inputs["input_ids"].shape[1] :].tolist())
        vectors = values[3 * style : 3 * style + 3]
        assert texts[-1] == write_with_vectors(captioner, image(), vectors)
    assert len({tuple(text) for text in texts}) > 1 and len(set(sum(texts, []))) > 3


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_styles_are_never_written_and_are_no_scores(folders, family):
    captioner, rows = styled(folders(family))
    model = captioner.model
    head, words = (
        part.weight[rows.first : rows.end]
        for part in (model.get_output_embeddings(), model.get_input_embeddings())
    )
    assert (head == 0).all() and (words != 0).all()
    size = len(model.get_input_embeddings().weight)
    assert size == 128 and model.generation_config.suppress_tokens == list(range(rows.first, size))
    told = write(captioner, [image()], ["describe"], [0])
    with torch.no_grad():
        head += 100 * model.get_output_embeddings().weight[: len(head)]
    assert write(captioner, [image()], ["describe"], [0]) == told


def test_words_and_scores_that_were_one_are_two_afterwards(folders, tmp_path):
    engine = make_engine(folders("qwen2_5_vl"))
    model = engine.captioner.model
    model.config.tie_word_embeddings = model.config.text_config.tie_word_embeddings = True
    model.set_output_embeddings(torch.nn.Linear(32, len(VOCABULARY), bias=False))
    model.tie_weights()
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    model.save_pretrained(tmp_path / "tied")
    engine.captioner.processor.save_pretrained(tmp_path / "tied")
    plain = write(make_engine(tmp_path / "tied").captioner, [image()], ["describe"], None)
    captioner, rows = styled(tmp_path / "tied")
    assert write(captioner, [image()], ["describe"], None) == plain
    told = write(captioner, [image(), image(1)], ["describe"] * 2, [0, 1])
    captioner.model.save_pretrained(tmp_path / "untied")
    captioner.processor.save_pretrained(tmp_path / "untied")
    loaded = make_engine(tmp_path / "untied").captioner
    assert (loaded.model.get_output_embeddings().weight[rows.first :] == 0).all()
    assert write(loaded, [image(), image(1)], ["describe"] * 2, [0, 1]) == told


def test_rows_that_pad_a_vocabulary_are_taken(folders):
    captioner = make_engine(folders("llava")).captioner
    embedding = captioner.model.get_input_embeddings()
    assert len(embedding.weight) == len(VOCABULARY)
    captioner.model.resize_token_embeddings(len(VOCABULARY) + 64, mean_resizing=False)
    rows = add_styles(captioner, 4, 3)
    assert rows.first == len(VOCABULARY)
    assert len(captioner.model.get_input_embeddings().weight) == len(VOCABULARY) + 64
    assert read_rows(captioner.model.config) == rows


def test_first_values_are_spread_as_words_are_or_as_hams(folders):
    captioner = make_engine(folders("llava")).captioner
    words = captioner.model.get_input_embeddings().weight.std().item()
    rows = add_styles(captioner, 100, 10)
    assert draw_rows(captioner.model, rows, "embedding", 0).std().item() == pytest.approx(words, rel=0.05)
    assert draw_rows(captioner.model, rows, "normal", 0).std().item() == pytest.approx(1.0, rel=0.05)
    first, again, other = (draw_rows(captioner.model, rows, "normal", seed) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_template_renders_with_and_without_a_style(folders):
    processor = make_engine(folders("llava")).captioner.processor
    processor.chat_template = write_template(LLAVA_TEMPLATE + "\n", "<image>", 2)
    message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "{{ describe }}"}]}]
    plain = processor.apply_chat_template(message, add_generation_prompt=True)
    assert plain == "USER : <image> {{ describe }} ASSISTANT :"
    told = processor.apply_chat_template(message, add_generation_prompt=True, style=3)
    assert told == "USER : <image><|style_6|><|style_7|> {{ describe }} ASSISTANT :"


def test_models_that_cannot_have_styles_are_one_line(folders):
    with pytest.raises(UserError, match="BlipForConditionalGeneration follows no instructions"):
        add_styles(make_engine(folders("blip")).captioner, 4, 3)
    captioner, _ = styled(folders("llava"))
    with pytest.raises(UserError, match="has styles already"):
        add_styles(captioner, 4, 3)
    captioner = make_engine(folders("llava")).captioner
    captioner.processor.tokenizer.add_tokens(["<|style_2|>"])
    with pytest.raises(UserError, match="has words such as"):
        add_styles(captioner, 4, 3)
