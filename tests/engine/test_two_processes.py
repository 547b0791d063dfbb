"""One process and two must train the same thing: losses, gradients and parameters after ten steps."""

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tests.engine.small_runs import make_corpus, make_experiment, make_trainer
from tpr import distributed

STEPS = 10
CASES = {
    "sdm": ({"sdm": 1.0}, {}),
    "itc": ({"itc": 1.0}, {}),
    "cmpm": ({"cmpm": 1.0}, {}),
    "id": ({"id": 1.0}, {}),
    "mlm": ({"mlm": 1.0}, {}),
    "all": ({"sdm": 1.0, "itc": 1.0, "cmpm": 1.0, "id": 1.0, "mlm": 1.0}, {}),
    "identity_sampler": ({"sdm": 1.0, "id": 1.0}, {"sampler": "identity", "pictures_per_identity": 4}),
    "image_unit": (
        {"sdm": 1.0, "itc": 1.0, "id": 1.0, "mlm": 1.0},
        {"unit": "image", "captions_per_image": 2},
    ),
    # 25 pairs in batches of 8 leave a last batch of one: the second process has no row of it.
    "empty_rank": ({"sdm": 1.0, "id": 1.0, "mlm": 1.0}, {"odd": True}),
}


def train(folder: Path, case: str, double: bool) -> dict[str, object]:
    """Ten steps of one case on this rank; losses are summed over ranks."""
    losses, data = CASES[case]
    data = dict(data)
    shape = {"images": 25, "captions": 1} if data.pop("odd", False) else {}
    corpus = make_corpus(folder, **shape)
    trainer = make_trainer(make_experiment(folder, losses, **data), corpus, folder / case, double=double)
    result: dict[str, object] = {"losses": [], "gradients": {}}
    while trainer.steps_done < STEPS:
        for batch in trainer.loader.epoch(trainer.epoch):
            output = trainer.step(batch)
            stacked = torch.stack([value.detach() for value in output.losses.values()])
            result["losses"].append(distributed.sum_over_ranks(stacked))
            if trainer.steps_done == 1:
                result["gradients"] = {
                    name: parameter.grad.clone() for name, parameter in trainer.system.named_parameters()
                }
            if trainer.steps_done == STEPS:
                break
        trainer.epoch += 1
    result["parameters"] = trainer.system.state_dict()
    return result


def train_rank(rank: int, folder: Path, double: bool) -> None:
    """One of two gloo processes: runs every case and saves what came out."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    for case in CASES:
        result = train(folder / "data", case, double)
        if rank == 0:
            torch.save(result, folder / f"{case}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module", params=[True, False], ids=["float64", "float32"])
def two_processes(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    make_corpus(folder / "data")
    make_corpus(folder / "data", images=25, captions=1)
    mp.spawn(train_rank, args=(folder, request.param), nprocs=2)
    return folder, request.param


@pytest.mark.ddp
@pytest.mark.parametrize("case", list(CASES))
def test_two_processes_train_what_one_does(two_processes, case):
    folder, double = two_processes
    together = torch.load(folder / f"{case}.pt", weights_only=True)
    alone = train(folder / "data", case, double)
    steps = STEPS if double else 1
    tolerance = 1e-9 if double else 1e-5
    close = {"rtol": tolerance, "atol": tolerance}
    for one, two in zip(alone["losses"][:steps], together["losses"][:steps], strict=True):
        torch.testing.assert_close(two, one, **close)
    for name, gradient in alone["gradients"].items():
        torch.testing.assert_close(
            together["gradients"][name], gradient, **close, msg=lambda m, n=name: f"{n}: {m}"
        )
    if double:
        for name, value in alone["parameters"].items():
            torch.testing.assert_close(together["parameters"][name], value, **close)
    assert any(gradient.abs().max() > 1e-6 for gradient in alone["gradients"].values())
