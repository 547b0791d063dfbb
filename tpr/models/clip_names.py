"""Hugging Face's names of CLIP's weights as OpenAI's, which ours are."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

TOWERS = ("vision_model.", "text_model.")
"""Start of the names of either tower."""
NAMES = {
    r"^vision_model\.embeddings\.class_embedding$": "visual.class_embedding",
    r"^vision_model\.embeddings\.patch_embedding\.weight$": "visual.conv1.weight",
    r"^vision_model\.embeddings\.position_embedding\.weight$": "visual.positional_embedding",
    r"^vision_model\.pre_layrnorm\.": "visual.ln_pre.",
    r"^vision_model\.post_layernorm\.": "visual.ln_post.",
    r"^vision_model\.encoder\.layers\.": "visual.transformer.resblocks.",
    r"^visual_projection\.weight$": "visual.proj",
    r"^text_model\.embeddings\.token_embedding\.": "token_embedding.",
    r"^text_model\.embeddings\.position_embedding\.weight$": "positional_embedding",
    r"^text_model\.final_layer_norm\.": "ln_final.",
    r"^text_model\.encoder\.layers\.": "transformer.resblocks.",
    r"^text_projection\.weight$": "text_projection",
    r"(resblocks\.\d+)\.self_attn\.out_proj\.": r"\1.attn.out_proj.",
    r"(resblocks\.\d+)\.layer_norm([12])\.": r"\1.ln_\2.",
    r"(resblocks\.\d+)\.mlp\.fc1\.": r"\1.mlp.c_fc.",
    r"(resblocks\.\d+)\.mlp\.fc2\.": r"\1.mlp.c_proj.",
}
PROJECTIONS = ("visual_projection.weight", "text_projection.weight")
"""Linear layers, where OpenAI has matrices that stand on the right of a product."""
QUERY = re.compile(r"(.*resblocks\.\d+)\.self_attn\.q_proj\.(weight|bias)")


def rename_hugging_face(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """OpenAI's names for a CLIP of Hugging Face; any other state is returned as it is."""
    if not any(name.startswith(TOWERS) for name in state):
        return dict(state)
    renamed = {}
    for name, value in state.items():
        if name.endswith("position_ids"):
            continue
        renamed_as = name
        for pattern, ours in NAMES.items():
            renamed_as = re.sub(pattern, ours, renamed_as)
        renamed[renamed_as] = value.T if name in PROJECTIONS and value.dim() == 2 else value
    return _join_attention(renamed)


def _join_attention(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Query, key and value as the one matrix that OpenAI's blocks have."""
    for name in list(state):
        if found := QUERY.fullmatch(name):
            block, part = found.groups()
            names = [f"{block}.self_attn.{letter}_proj.{part}" for letter in "qkv"]
            values = [state.get(single) for single in names]
            whole = [value for value in values if value is not None and value.shape == state[name].shape]
            if len(whole) == len(names):
                state = {key: state[key] for key in state if key not in names}
                state[f"{block}.attn.in_proj_{part}"] = torch.cat(whole)
    return state
