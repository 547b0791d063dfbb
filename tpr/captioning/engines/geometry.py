"""How pictures reach the model: the whole person, resized or padded, never cropped.

The default of LLaVA's processor resizes the short side and cuts a square out of the middle: of an upright
person of 128x384 pixels, head and feet are gone and one third is left.
"""

from typing import Any


def fit_nothing(processor: Any, config: Any, visual_tokens: tuple[int, int]) -> None:
    """BLIP resizes the whole picture to its square as it is."""
    processor.image_processor.do_center_crop = False


def fit_text(processor: Any, config: Any, visual_tokens: tuple[int, int]) -> None:
    """A language model gets no picture."""


def fit_llava(processor: Any, config: Any, visual_tokens: tuple[int, int]) -> None:
    """Both LLaVAs: pictures, and tiles of LLaVA-Next, become the tower's square whole.

    Processors from before 4.46 do not know how many tokens a picture takes; the model does.
    """
    side = int(config.vision_config.image_size)
    pictures = processor.image_processor
    pictures.do_center_crop = False
    pictures.size = {"height": side, "width": side}
    pictures.crop_size = {"height": side, "width": side}
    if getattr(processor, "patch_size", None) is None:
        processor.patch_size = config.vision_config.patch_size
        has_class_token = config.vision_config.model_type == "clip_vision_model"
        processor.num_additional_image_tokens = int(has_class_token)
    if getattr(processor, "vision_feature_select_strategy", None) is None:
        processor.vision_feature_select_strategy = config.vision_feature_select_strategy


def fit_qwen(processor: Any, config: Any, visual_tokens: tuple[int, int]) -> None:
    """Qwen keeps proportions and chooses the size by area, so a small crop would be a handful of tokens.

    visual_tokens: fewest and most. Older versions read the limits from
    other names.
    """
    pictures = processor.image_processor
    area = (pictures.patch_size * pictures.merge_size) ** 2
    fewest, most = (tokens * area for tokens in visual_tokens)
    pictures.size = {"shortest_edge": fewest, "longest_edge": most}
    if getattr(pictures, "min_pixels", None) is not None:
        pictures.min_pixels, pictures.max_pixels = fewest, most
