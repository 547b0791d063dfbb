"""Checkpoints: this program's own, and those of other programs."""

from dataclasses import asdict
from pathlib import Path
from random import Random

import torch
from safetensors.torch import save_file
from torch import Tensor

from fuzzing.damage import damage
from fuzzing.verdict import Kind, Verdict
from tpr.config.resolved import to_tree
from tpr.config.schema import Experiment
from tpr.config.typed import build_experiment
from tpr.engine.checkpoint import write_checkpoint
from tpr.systems import TABLES, build_system, load_system
from tpr.systems.base import Setting

SIZES = {"width": 16, "layers": 1, "heads": 2}
TINY = {
    "system": {"name": "irra", "depth": 1},
    "model": {"name": "clip", "architecture": {"embed_dim": 16, "image": SIZES, "text": SIZES}},
    "data": {"image_size": [32, 16]},
}


def make_experiment() -> Experiment:
    """A run of a model of a few thousand values beside its table of words."""
    return build_experiment(TINY, TABLES)


class Checkpoints(Kind):
    """A zip holds a sum of each of its parts, so a damaged one is found; a bare safetensors holds none."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        experiment = make_experiment()
        setting = Setting(image_size=(32, 16), text_length=77, identities=4, captions=8)
        system = build_system(experiment, setting)
        self.state = {name: value.clone() for name, value in system.state_dict().items()}
        own = {"model": self.state, "config": to_tree(experiment), "setting": asdict(setting)}
        write_checkpoint(folder / "own.pt", own)
        torch.save(
            {"model": {f"module.{name}": value for name, value in self.state.items()}},
            folder / "official.pth",
        )
        save_file(self.state, folder / "bare.safetensors")
        self.originals = sorted(folder.iterdir())
        self.before = {path: load_system(path, experiment=experiment).state_dict() for path in self.originals}
        self.experiment = experiment

    def attempt(self, random: Random) -> Verdict:
        """Load a system from a damaged file."""
        path = random.choice(self.originals)
        self.tried = path.name
        target = self.folder / f"damaged{path.suffix}"
        target.write_bytes(damage(path.read_bytes(), random))
        # A run names its experiment, `evaluate` takes that of the file.
        experiment = self.experiment if path.stem != "own" or random.random() < 0.5 else None
        after = load_system(target, experiment=experiment).state_dict()
        if _are_equal(self.before[path], after):
            return Verdict.SAME
        return Verdict.OTHER if path.suffix == ".safetensors" else Verdict.SILENT


def _are_equal(before: dict[str, Tensor], after: dict[str, Tensor]) -> bool:
    return before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
