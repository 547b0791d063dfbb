"""A checkpoint that is not of this run is refused in one line that says what differs."""

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.small_runs import make_corpus, make_experiment, make_trainer
from tpr.commands.train import read_before
from tpr.config.schema import OptimOptions
from tpr.engine.checkpoint import write_checkpoint
from tpr.engine.resuming import read_best
from tpr.engine.trainer import Trainer
from tpr.errors import CheckpointError

State = dict[str, Any]
LOSSES = {"sdm": 1.0}


def make_small(folder: Path, name: str = "run", **changes: Any) -> Trainer:
    experiment = make_experiment(folder, LOSSES)
    experiment = replace(experiment, runtime=replace(experiment.runtime, max_steps=3), **changes)
    return make_trainer(experiment, make_corpus(folder), folder / name)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, State]:
    """A trainer in whose folder a last.pt is damaged, and what that file held."""
    folder = tmp_path_factory.mktemp("trained")
    trainer = make_small(folder)
    trainer.resume()
    trainer.fit()
    return trainer, torch.load(trainer.folder / "last.pt", weights_only=True)


def put(*path: Any, value: Any) -> Callable[[State], object]:
    """A change of one entry of a state."""

    def change(state: State) -> None:
        for key in path[:-1]:
            state = state[key]
        state[path[-1]] = value

    return change


def remove(*path: Any) -> Callable[[State], object]:
    def change(state: State) -> None:
        for key in path[:-1]:
            state = state[key]
        del state[path[-1]]

    return change


def swap_weights(state: State) -> None:
    state["model"]["base_model.ln_final.weight"] = torch.ones(5)


def rename_weights(state: State) -> None:
    state["model"]["other"] = state["model"].pop("base_model.ln_final.weight")


DAMAGES: dict[str, tuple[Callable[[State], object], str]] = {
    "seed": (put("config", "seed", value=2), "seed is 2 and not 1"),
    "rate": (put("config", "optim", "lr", value=0.5), "optim.lr is 0.5 and not 0.001"),
    "batch": (put("config", "data", "batch", value=4), "data.batch is 4 and not 8"),
    "loss": (put("config", "system", "losses", "mlm", value=1.0), "system.losses.mlm is 1.0 and not 0.0"),
    "unknown option": (put("config", "novelty", value=1), "its configuration is not for this version"),
    "other data": (
        put("setting", "captions", value=9),
        "the training set is another: captions is 9 and",
    ),
    "step of -5": (put("step", value=-5), "it stands at epoch 1, step -5; this run has 4 epochs of 4 steps"),
    "step beyond its epoch": (put("step", value=5), "it stands at epoch 1, step 5"),
    "epoch": (put("epoch", value=99), "it stands at epoch 99, step 3"),
    "step as text": (put("step", value="3"), "step of another type"),
    "epoch as truth": (put("epoch", value=True), "epoch of another type"),
    "a best.pt": (
        lambda state: [state.pop(key) for key in ("optimizer", "tables", "scaler", "meter")],
        "it holds no optimizer and no tables, as a best.pt does not",
    ),
    "no best": (remove("best"), "it lacks best"),
    "no model": (remove("model"), "it lacks model"),
    "no weight": (
        remove("model", "base_model.ln_final.weight"),
        "weights: it lacks base_model.ln_",
    ),
    "renamed": (rename_weights, "weights: it lacks base_model.ln_final.weight and has also other"),
    "shape": (swap_weights, "weights: 'base_model.ln_final.weight' is [5] torch.float32 and not [8]"),
    "weights overflow": (
        put("model", "base_model.ln_final.weight", value=torch.full((8,), float("inf"))),
        "weights: 'base_model.ln_final.weight' is not finite",
    ),
    "no tensor": (
        put("model", "base_model.ln_final.weight", value=7),
        "ln_final.weight' is no tensor",
    ),
    "odd table": (put("tables", "x", value=torch.ones(2)), "tables: it has also x"),
    "groups": (put("optimizer", "param_groups", value=[]), "optimizer: expected 2 groups of parameters"),
    "group's rate": (
        put("optimizer", "param_groups", 0, "base_lr", value=1.0),
        "optimizer: group 0: base_lr is 1.0 and not",
    ),
    "group's decay": (
        put("optimizer", "param_groups", 0, "weight_decay", value=7.0),
        "optimizer: group 0: weight_decay is 7.0 and not",
    ),
    "no means": (remove("optimizer", "state"), "optimizer: it lacks its running means"),
    "half of the means": (
        remove("optimizer", "state", 0, "exp_avg_sq"),
        "optimizer: parameter 0 lacks exp_avg_sq",
    ),
    "means of another shape": (
        put("optimizer", "state", 0, "exp_avg", value=torch.ones(3)),
        "optimizer: parameter 0 has running means of another shape",
    ),
    "means of nobody": (put("optimizer", "state", 999, value={}), "optimizer: it has a parameter 999 of"),
    "means of a parameter": (
        remove("optimizer", "state", 0),
        "optimizer: it has running means of {one_less} parameters, but {all} were updated",
    ),
    "meter": (put("meter", value={"steps": 1}), "scaler, tables or means: 'sums' is missing"),
    "meter of another form": (
        put("meter", value={"steps": 1, "sums": 3}),
        "scaler, tables or means: not of the form that this version writes",
    ),
    "best of no size": (put("best", value=float("inf")), "best is inf, which is no score"),
    "best of no number": (put("best", value=float("nan")), "best is nan, which is no score"),
    "best of an epoch to come": (put("best_epoch", value=99), "best_epoch is 99, but there is no best score"),
    "best before the first epoch": (
        lambda state: state.update(best=0.5, best_epoch=-1),
        "best_epoch is -1, while it stands at epoch 1",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_state_of_another_run_is_refused(trained: tuple[Trainer, State], damage: str) -> None:
    trainer, state = trained
    change, problem = DAMAGES[damage]
    damaged = copy.deepcopy(state)
    change(damaged)
    path = trainer.folder / "last.pt"
    with pytest.raises(CheckpointError) as error:
        trainer.take_over(damaged, path)
    message = str(error.value)
    assert message.startswith(f"{path}: not a state that this run can go on from: ")
    updated = len(state["optimizer"]["state"])
    assert problem.format(one_less=updated - 1, all=updated) in message
    assert message.endswith("put the right file back, or remove it to start this run anew")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (remove("optimizer", "param_groups", 1, "step"), "optimizer: group 1: step is null and not a count"),
        (
            put("optimizer", "param_groups", 0, "step", value="3"),
            "optimizer: group 0: step is '3' and not a count",
        ),
        (
            remove("optimizer", "state", 0, "neg_pre_grad"),
            "optimizer: parameter 0 lacks neg_pre_grad",
        ),
    ],
)
def test_a_state_of_adan_without_its_counts_or_means_is_refused(
    tmp_path: Path, change: Callable[[State], object], problem: str
) -> None:
    optim = OptimOptions(name="adan", betas=(0.98, 0.92, 0.99), lr=1e-3)
    trainer = make_small(tmp_path, optim=optim)
    trainer.fit()
    path = trainer.folder / "last.pt"
    state = torch.load(path, weights_only=True)
    trainer.take_over(copy.deepcopy(state), path)
    change(state)
    with pytest.raises(CheckpointError, match=re.escape(problem)):
        trainer.take_over(state, path)


def test_what_may_change_is_not_held_against_a_state(
    trained: tuple[Trainer, State],
) -> None:
    trainer, state = trained
    other = copy.deepcopy(state)
    other["config"]["runtime"] |= {"workers": 9, "output": "elsewhere", "max_steps": None}
    trainer.take_over(other, trainer.folder / "last.pt")
    assert (trainer.epoch, trainer.steps_done) == (1, 3)


def test_a_state_of_an_older_version_goes_on(trained: tuple[Trainer, State]) -> None:
    trainer, state = trained
    older = {key: value for key, value in copy.deepcopy(state).items() if key not in ("meter", "precision")}
    del older["optimizer"]["updated"]
    trainer.take_over(older, trainer.folder / "last.pt")


def test_auto_goes_on_only_where_it_means_the_same(trained: tuple[Trainer, State]) -> None:
    trainer, state = trained
    message = r"computed in bf16, while runtime\.precision=auto means float32 on this device; go on where it"
    with pytest.raises(CheckpointError, match=message):
        trainer.take_over(state | {"precision": "bf16"}, trainer.folder / "last.pt")


@pytest.mark.parametrize(
    ("before", "problem"),
    [
        ("rows", "not of the form that this version writes"),
        (None, "not of the form that this version writes"),
        ([], "not of the form that this version writes"),
        ({"mark": ""}, "'rows' is missing"),
        ({"rows": [{}]}, "'dataset' is missing"),
        ({"rows": [{"set": 1}], "mark": []}, "'direction' is missing"),
    ],
    ids=str,
)
def test_an_evaluation_before_the_first_step_that_is_none_is_told_in_one_line(
    before: object, problem: str
) -> None:
    with pytest.raises(CheckpointError) as error:
        read_before({"before": before}, Path("last.pt"))
    assert str(error.value) == (
        "last.pt: not a state that this run can go on from: the evaluation before the first step: "
        f"{problem}; put the right file back, or remove it to start this run anew"
    )


def test_a_best_state_that_is_not_of_this_run_is_told_in_one_line(trained: tuple[Trainer, State]) -> None:
    trainer, _ = trained
    path = trainer.folder / "best.pt"
    state = read_best(path, trainer.system)
    for change, problem in (
        (remove("model"), "it lacks model"),
        (remove("best_epoch"), "it lacks best_epoch"),
        (put("best_epoch", value=7), "best_epoch is 7, while it stands at epoch 1"),
        (rename_weights, "weights: it lacks base_model.ln_final.weight and has also other"),
    ):
        damaged = copy.deepcopy(state)
        change(damaged)
        write_checkpoint(path, damaged)
        with pytest.raises(CheckpointError) as error:
            read_best(path, trainer.system)
        assert str(error.value) == (
            f"{path}: not the best state of this run: {problem}; put the right file back, or start the run "
            "anew with runtime.resume=never"
        )
