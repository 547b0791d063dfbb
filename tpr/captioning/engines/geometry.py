"""How images reach the model: the whole person, resized or padded, never cropped.

The default of LLaVA's processor resizes the short side and cuts a square out of the middle: of an upright
person of 128x384 pixels, head and feet are gone and one third is left.
"""

from typing import Any


def fit_nothing(processor: Any, config: Any, visual_tokens: tuple[int, int]) -> None:
    """BLIP resizes the whole image to its square as it is."""
    processor.image_processor.do_center_crop = False


def fit_text(processor: Any, config: Any, visual_tokens: tuple[int, int]) -> None:
    """A language model gets no image."""


def fit_llava(processor: Any, config: Any, visual_tokens: tuple[int, int]) -> None:
    """Both LLaVAs: images, and tiles of LLaVA-Next, become the tower's square whole.

    Processors from before 4.46 do not know how many tokens an image takes; the model does.
    """
    side = int(config.vision_config.image_size)
    images = processor.image_processor
    images.do_center_crop = False
    images.size = {"height": side, "width": side}
    images.crop_size = {"height": side, "width": side}
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
    images = processor.image_processor
    area = (images.patch_size * images.merge_size) ** 2
    fewest, most = (tokens * area for tokens in visual_tokens)
    images.size = {"shortest_edge": fewest, "longest_edge": most}
    if getattr(images, "min_pixels", None) is not None:
        images.min_pixels, images.max_pixels = fewest, most
