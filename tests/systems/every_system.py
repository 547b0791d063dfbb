"""The table of systems: a row is a system with options and a batch, and gets every check of the contract."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from tests.systems.small_systems import (
    BASE_ROWS,
    EVERY_LOSS,
    FIRST,
    SETTING,
    SMALL,
    SMALL_STREAMS,
    make_batch,
    make_slots,
)
from tpr.config.schema import Choice, DataOptions, Experiment
from tpr.data.samples.batch import Batch
from tpr.models import ClipOptions
from tpr.objectives.consensus import DivisionOptions
from tpr.systems import MODELS, SYSTEMS, System, build_system
from tpr.systems.base import EpochContext, Setting, Side
from tpr.systems.irra import IrraOptions, Losses
from tpr.systems.mllm4text import Losses as MatchingLosses
from tpr.systems.mllm4text import Mllm4TextOptions
from tpr.systems.rde import RdeOptions
from tpr.systems.tvi_lfm_options import Losses as InfraredLosses
from tpr.systems.tvi_lfm_options import TviLfmOptions

CLIP = ClipOptions(architecture=SMALL)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One system to be checked."""

    system: str
    """Its name in SYSTEMS."""
    options: Any
    """Its options."""
    model: Any = CLIP
    """Options of its towers."""
    make_batch: Callable[[], Batch] = make_batch
    """A batch of six samples."""
    captions_per_image: int = 1
    """Captions of each image in that batch."""
    vectors: Mapping[Side, int] = field(default_factory=dict)
    """Unit vectors that stand side by side in what a side is encoded to; absent: one."""

    def make(self, seed: int = 0) -> System:
        """The system as the trainer has it before the first step, with weights that follow the seed."""
        torch.manual_seed(seed)
        system = build_system(self.experiment, self.setting).train()
        system.before_epoch(EpochContext(progress=FIRST, survey=None, autocast=None))
        return system

    @property
    def experiment(self) -> Experiment:
        """A run of it."""
        names = [name for name, kind in MODELS.items() if isinstance(self.model, kind)]
        data = DataOptions(
            image_size=SETTING.image_size,
            text_length=SETTING.text_length,
            unit="image",
            captions_per_image=self.captions_per_image,
        )
        return Experiment(
            system=Choice(self.system, self.options), model=Choice(names[0], self.model), data=data
        )

    @property
    def setting(self) -> Setting:
        """Sizes of its input and its training set."""
        return replace(SETTING, captions=12, captions_per_image=self.captions_per_image)


def irra(**options: Any) -> Row:
    """A row of IRRA."""
    return Row(system="irra", options=IrraOptions(**{"temperature": 0.1, **options}))


def mllm4text(**options: Any) -> Row:
    """A row of MLLM4Text."""
    return Row(system="mllm4text", options=Mllm4TextOptions(temperature=0.1, **options))


def rde(loss: Any, **options: Any) -> Row:
    """A row of RDE in the epochs that train on every pair."""
    division = DivisionOptions(warmup_epochs=1)
    chosen = {"selected_width": 16, "temperature": 0.1, "division": division, "loss": loss, **options}
    return Row(system="rde", options=RdeOptions(**chosen))


def tvi_lfm(**options: Any) -> Row:
    """A row of TVI-LFM; where it keeps the head of the base training, images go through both."""
    chosen = TviLfmOptions(**options)
    vectors: dict[Side, int] = {"image": 2} if chosen.keeps_base else {}
    return Row(system="tvi_lfm", options=chosen, model=SMALL_STREAMS, make_batch=make_slots, vectors=vectors)


def with_two_captions(row: Row) -> Row:
    """The row with two captions of each image."""
    return replace(row, captions_per_image=2, make_batch=lambda: make_batch(2))


ROWS = {
    "irra_published": irra(),
    "irra_every_loss": irra(losses=EVERY_LOSS, sdm_text="full"),
    "irra_sdm_only": irra(losses=Losses(id=0, mlm=0)),
    "irra_pretrain": irra(
        losses=Losses(id=0, mlm=0, itc=1), itc_scale=20, sdm_text="full", groups="single", temperature=0.02
    ),
    "irra_mlm_only": irra(losses=Losses(sdm=0, id=0)),
    "irra_fast": irra(keep_patches=0.5, word_positions="caption"),
    "irra_two_captions": with_two_captions(irra(losses=EVERY_LOSS)),
    "mllm4text_noise_aware": mllm4text(losses=MatchingLosses(sdm=1, itc=0.5)),
    "mllm4text_equal": mllm4text(masking="equal"),
    "mllm4text_two_captions": with_two_captions(mllm4text()),
    "rde_tal": rde("tal", norm="frozen"),
    "rde_infonce": rde("infonce", norm="train"),
    "rde_two_captions": with_two_captions(rde("sdm", norm="frozen")),
    "tvi_lfm_base": tvi_lfm(**BASE_ROWS),
    "tvi_lfm_incremental": tvi_lfm(),
    "tvi_lfm_every_loss": tvi_lfm(
        losses=InfraredLosses(orthogonality=1, text_alignment=1, infrared_alignment=1)
    ),
}


def find_missing() -> set[str]:
    """Systems that no row checks."""
    return set(SYSTEMS) - {row.system for row in ROWS.values()}


def hold_norms(system: System) -> System:
    """Batch norms in evaluation mode: their statistics make rows depend on one another and on their order."""
    for module in system.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    return system
