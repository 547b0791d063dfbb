"""One process and two must train the same thing: losses, gradients, and parameters after six steps."""

import os
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm

from tests.data.small_slots import make_slots
from tests.engine.small_runs import make_corpus, make_experiment, make_trainer
from tests.ranks import run_ranks
from tpr import distributed
from tpr.config.noise import NoiseOptions as NoisyCaptions
from tpr.config.schema import Choice
from tpr.objectives.consensus import DivisionOptions
from tpr.systems import SYSTEMS
from tpr.systems.irra import IrraOptions
from tpr.systems.irra import Losses as IrraLosses
from tpr.systems.mllm4text import Losses as MatchingLosses
from tpr.systems.mllm4text import MaskNoiseOptions, Mllm4TextOptions
from tpr.systems.rde import RdeOptions
from tpr.systems.tvi_lfm_options import Losses as InfraredLosses
from tpr.systems.tvi_lfm_options import TviLfmOptions

STEPS = 6
"""One epoch and a half: what a system does before the second one is in it."""
NOISE_AWARE = Choice(
    "mllm4text",
    Mllm4TextOptions(losses=MatchingLosses(sdm=0.1, itc=0.1), temperature=0.1, mask_rate=0.3),
)
SMOOTHED = Choice(
    "mllm4text",
    Mllm4TextOptions(
        temperature=0.1,
        mask_rate=0.3,
        parity=True,
        nam=MaskNoiseOptions(momentum=0.5, plain_view=True, whole_words=True, storage="float32", map_above=0),
    ),
)

FAST = Choice(
    "irra",
    IrraOptions(
        losses=IrraLosses(sdm=1, id=1, mlm=1), temperature=0.1, keep_patches=0.5, word_positions="caption"
    ),
)


def rde(loss: str = "tal", **division: object) -> Choice:
    """RDE with a frozen norm: statistics of a batch are those of its process on a CPU."""
    options = RdeOptions(
        loss=loss, norm="frozen", selected_width=24, temperature=0.1, division=DivisionOptions(**division)
    )
    return Choice("rde", options)


def infrared(**options: object) -> tuple[Choice, dict[str, object]]:
    """Images of two kinds; their norms are held, since statistics of a batch are those of its process."""
    return Choice("tvi_lfm", TviLfmOptions(**options)), {"slots": True, "images_per_identity": 4}


CASES = {
    "sdm": ({"sdm": 1.0}, {}),
    "itc": ({"itc": 1.0}, {}),
    "cmpm": ({"cmpm": 1.0}, {}),
    "id": ({"id": 1.0}, {}),
    "mlm": ({"mlm": 1.0}, {}),
    "all": ({"sdm": 1.0, "itc": 1.0, "cmpm": 1.0, "id": 1.0, "mlm": 1.0}, {}),
    "identity_sampler": ({"sdm": 1.0, "id": 1.0}, {"sampler": "identity", "images_per_identity": 4}),
    "few_patches": (FAST, {}),
    "image_unit": (
        {"sdm": 1.0, "itc": 1.0, "id": 1.0, "mlm": 1.0},
        {"unit": "image", "captions_per_image": 2},
    ),
    # 25 pairs in batches of 8 leave a last batch of one: the second process has no row of it.
    "empty_rank": ({"sdm": 1.0, "id": 1.0, "mlm": 1.0}, {"odd": True}),
    "noise_aware": (NOISE_AWARE, {}),
    "noise_aware_images": (SMOOTHED, {"unit": "image", "captions_per_image": 2}),
    "noise_aware_empty_rank": (NOISE_AWARE, {"odd": True}),
    "rde_tal": (rde("tal"), {}),
    "rde_trl": (rde("trl"), {}),
    "rde_infonce": (rde("infonce"), {}),
    "rde_sdm": (rde("sdm"), {}),
    "rde_reused_losses": (rde("tal", reuse_losses=True), {"noise": NoisyCaptions(rate=0.3)}),
    "rde_after_warmup": (rde("infonce", warmup_epochs=1), {}),
    "rde_images": (rde("sdm"), {"unit": "image", "captions_per_image": 2}),
    "rde_empty_rank": (rde("infonce"), {"odd": True}),
    "infrared_base": infrared(rows=("visible", "infrared"), visual="trained"),
    # A tenth of the triplet: its gradient in the text tower is large enough to show float32's rounding.
    "infrared_text": infrared(text_lr=1e-3, losses=InfraredLosses(triplet=0.1)),
    "infrared_every_loss": infrared(
        visual="trained",
        triplet="published",
        losses=InfraredLosses(orthogonality=1.0, text_alignment=1.0, infrared_alignment=1.0),
    ),
}
IN_THE_QUICK_TESTS = {"all", "empty_rank", "noise_aware", "rde_tal", "infrared_text"}
GROUPS = {
    "quick": [case for case in CASES if case in IN_THE_QUICK_TESTS],
    "slow": [case for case in CASES if case not in IN_THE_QUICK_TESTS],
}
RUNS = [
    pytest.param(group, double, case, marks=[] if group == "quick" and double else [pytest.mark.slow])
    for group, cases in GROUPS.items()
    for double in (True, False)
    for case in cases
]


def train(folder: Path, case: str, double: bool) -> dict[str, object]:
    """Six steps of one case on this rank (one in float32); losses are summed over ranks."""
    losses, data = CASES[case]
    data = dict(data)
    shape = {"images": 25, "captions": 1} if data.pop("odd", False) else {}
    has_slots = data.pop("slots", False)
    corpus = make_slots(folder / "slots") if has_slots else make_corpus(folder, **shape)
    trainer = make_trainer(make_experiment(folder, losses, **data), corpus, folder / case, double=double)
    result: dict[str, object] = {"losses": [], "gradients": {}}
    steps = STEPS if double else 1
    while trainer.steps_done < steps:
        trainer.system.before_epoch(trainer.describe_epoch())
        trainer.system.train()
        for module in trainer.system.modules() if has_slots else ():
            if isinstance(module, _BatchNorm):
                module.eval()
        for batch in trainer.loader.epoch(trainer.epoch):
            output = trainer.step(batch)
            stacked = torch.stack([value.detach() for value in output.losses.values()])
            result["losses"].append(distributed.sum_over_ranks(stacked))
            if trainer.steps_done == 1:
                result["gradients"] = {
                    name: parameter.grad.clone()
                    for name, parameter in trainer.system.named_parameters()
                    if parameter.requires_grad
                }
            if trainer.steps_done == steps:
                break
        trainer.epoch += 1
    result["parameters"] = trainer.system.state_dict()
    result["tables"] = {name: table.save() for name, table in trainer.system.tables.items()}
    return result


def train_rank(rank: int, folder: Path, group: str, double: bool) -> None:
    """One of two gloo processes: runs every case of a group and saves what came out."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    for case in GROUPS[group]:
        result = train(folder / "data", case, double)
        if rank == 0:
            torch.save(result, folder / f"{case}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def train_together(tmp_path_factory):
    """Folder with what two processes trained of a group: started once per group, not once per case."""

    @cache
    def train_group(group: str, double: bool) -> Path:
        folder = tmp_path_factory.mktemp("ranks")
        make_corpus(folder / "data")
        make_corpus(folder / "data", images=25, captions=1)
        (folder / "data" / "slots").mkdir()
        make_slots(folder / "data" / "slots")
        run_ranks(train_rank, (folder, group, double))
        return folder

    return train_group


def test_every_system_is_trained_by_two_processes_in_the_quick_tests():
    systems = {CASES[case][0] for case in IN_THE_QUICK_TESTS if isinstance(CASES[case][0], Choice)}
    assert {choice.name for choice in systems} | {"irra"} == set(SYSTEMS)


@pytest.mark.ddp
@pytest.mark.parametrize(("group", "double", "case"), RUNS)
def test_two_processes_train_what_one_does(train_together, group, double, case):
    folder = train_together(group, double)
    together = torch.load(folder / f"{case}.pt", weights_only=True)
    alone = train(folder / "data", case, double)
    steps = STEPS if double else 1
    tolerance = 1e-9 if double else 1e-5
    close = {"rtol": tolerance, "atol": tolerance}
    for one, two in zip(alone["losses"][:steps], together["losses"][:steps], strict=True):
        torch.testing.assert_close(two, one, **close)
    for name, gradient in alone["gradients"].items():
        # Entries are sums of terms that round at the scale of the tensor's norm, not at their own.
        slack = tolerance * max(1.0, float(gradient.norm()))
        torch.testing.assert_close(
            together["gradients"][name],
            gradient,
            rtol=tolerance,
            atol=slack,
            msg=lambda m, n=name: f"{n}: {m}",
        )
    if double:
        for name, value in alone["parameters"].items():
            torch.testing.assert_close(together["parameters"][name], value, **close)
        assert together["tables"].keys() == alone["tables"].keys()
        for name, table in alone["tables"].items():
            torch.testing.assert_close(together["tables"][name], table, **close, equal_nan=True)
    if double and case.startswith("rde"):
        noisy = alone["tables"]["clean_marks"] == 127  # 0, as the table stores it
        assert 0 < noisy.sum() < len(noisy)
    assert any(gradient.abs().max() > 1e-6 for gradient in alone["gradients"].values())
