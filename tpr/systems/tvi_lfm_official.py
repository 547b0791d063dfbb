"""TVI-LFM's published files, of base and of incremental training."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from tpr.config.schema import Choice, DataOptions
from tpr.models.two_stream import read_two_stream
from tpr.systems.official import Official
from tpr.systems.tvi_lfm_options import TviLfmOptions

OFFICIAL_SIZE = (288, 144)


class TviLfmOfficial(Official):
    """Files with a stem for infrared images."""

    mark: ClassVar[str | None] = "visual.infrared.conv.weight"
    classifier: ClassVar[str] = "head.classifier.weight"
    names: ClassVar[Mapping[str, str]] = {
        r"^base_model\.visual\.rgb_model\.resnet_conv\.0\.": "visual.visible.conv.",
        r"^base_model\.visual\.rgb_model\.resnet_conv\.1\.": "visual.visible.norm.",
        r"^base_model\.visual\.ir_model\.resnet_conv\.0\.": "visual.infrared.conv.",
        r"^base_model\.visual\.ir_model\.resnet_conv\.1\.": "visual.infrared.norm.",
        r"^base_model\.visual\.shared_model\.resnet_conv\.": "visual.stages.",
        r"^base_model\.visual\.GEM\.": "pool.",
        r"^base_model\.": "text.",
        r"^classifier\.BN\.": "head.norm.",
        r"^classifier\.classifier\.": "head.classifier.",
        r"^backup_pool\.": "base_pool.",
        r"^backup_classifier\.BN\.": "base_head.norm.",
        r"^backup_classifier\.classifier\.": "base_head.classifier.",
    }

    def rename(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Official names -> ours; the logit scale, which no published recipe trains, is left behind."""
        state = super().rename(stored)
        state.pop("logit_scale", None)
        if "base_pool.p" in state:
            state["base_is_kept"] = torch.tensor(True)
        return state

    def options(self, state: Mapping[str, Tensor]) -> TviLfmOptions:
        """Options that hold all parts of a checkpoint; released files lack the base training's head."""
        if "text.text_projection" not in state:
            return TviLfmOptions(rows=("visible", "infrared"), visual="trained")
        return TviLfmOptions(visual="frozen" if "base_pool.p" in state else "trained")

    def model(self, state: Mapping[str, Tensor]) -> tuple[Choice, DataOptions]:
        """Towers of the sizes that the weights have, at the published input size."""
        parts = [
            {name.removeprefix(part): value for name, value in state.items() if name.startswith(part)}
            for part in ("visual.", "text.")
        ]
        model = read_two_stream(*parts)
        data = DataOptions(image_size=OFFICIAL_SIZE, text_length=model.text.context)
        return Choice("two_stream", model), data
