"""Runs whose weights leave the numbers: nothing of them replaces a sound state."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.engine.small_runs import make_corpus, make_experiment, make_trainer
from tpr.engine.trainer import Trainer
from tpr.errors import TrainingError


def make_run(folder: Path, *, lr: float = 1e-3, **runtime: object) -> Trainer:
    experiment = make_experiment(folder, {"sdm": 1.0})
    experiment = replace(
        experiment,
        optim=replace(experiment.optim, lr=lr, eps=1e-8),
        runtime=replace(experiment.runtime, save_every_steps=1, **runtime),
    )
    trainer = make_trainer(experiment, make_corpus(folder), folder / "run")
    trainer.resume()
    return trainer


def largest(path: Path) -> float:
    state = torch.load(path, weights_only=True)["model"]
    return max(float(value.abs().max()) for value in state.values() if value.is_floating_point())


def test_a_huge_rate_leaves_no_checkpoint_of_its_weights(tmp_path: Path) -> None:
    trainer = make_run(tmp_path, lr=1e30)
    with pytest.raises(TrainingError, match="not finite .*; nothing was saved yet from which a"):
        trainer.fit()
    assert largest_parameter(trainer) > 1e20, "the weights are finite, and of no use"
    assert list((tmp_path / "run").iterdir()) == []


def largest_parameter(trainer: Trainer) -> float:
    return max(float(value.detach().abs().max()) for value in trainer.system.parameters())


def test_a_rate_that_explodes_later_leaves_the_newest_state_that_a_good_step_proved(tmp_path: Path) -> None:
    trainer = make_run(tmp_path)
    step = trainer.step

    def explode(batch):  # type: ignore[no-untyped-def]
        if trainer.steps_done == 5:
            for group in trainer.optimizer.param_groups:
                group["base_lr"] = 1e30
        return step(batch)

    trainer.step = explode  # type: ignore[method-assign]
    last = tmp_path / "run" / "last.pt"
    with pytest.raises(TrainingError, match=rf"step 9: .*; {last} holds step 5, the newest state from"):
        trainer.fit()
    assert largest(last) < 100
    assert largest(tmp_path / "run" / "best.pt") < 100
    assert not list((tmp_path / "run").glob(".before-*"))


def test_weights_that_overflow_while_losses_stay_finite_stop_the_run(tmp_path: Path) -> None:
    trainer = make_run(tmp_path)
    unused = torch.nn.Parameter(torch.zeros(3), requires_grad=False)
    trainer.system.register_parameter("unused", unused)
    step = trainer.step

    def overflow(batch):  # type: ignore[no-untyped-def]
        if trainer.steps_done == 5:
            unused.fill_(float("inf"))
        return step(batch)

    trainer.step = overflow  # type: ignore[method-assign]
    last = tmp_path / "run" / "last.pt"
    problem = rf"step 6: the losses were finite, but 'unused' is not; {last} holds step 5,"
    with pytest.raises(TrainingError, match=problem):
        trainer.fit()
    assert largest(last) < 100


def test_a_score_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    trainer = make_run(tmp_path)
    scores = iter([float("nan"), 0.5, float("nan"), 0.4])
    trainer.scorer = lambda system, epoch, step: next(scores)
    trainer.fit()
    assert (trainer.best, trainer.best_epoch) == (0.5, 2)
    assert torch.load(tmp_path / "run" / "best.pt", weights_only=True)["epoch"] == 2


def test_a_run_whose_last_step_was_bad_ends_with_what_was_sound_before(tmp_path: Path) -> None:
    trainer = make_run(tmp_path)
    forward = trainer.system.losses

    def spoil(features, batch, progress):  # type: ignore[no-untyped-def]
        output = forward(features, batch, progress)
        if progress.step == 15:
            return replace(output, losses={"sdm": output.losses["sdm"] * float("nan")})
        return output

    trainer.system.losses = spoil  # type: ignore[method-assign]
    trainer.fit()
    run = tmp_path / "run"
    assert torch.load(run / "last.pt", weights_only=True)["step"] == 14
    assert torch.load(run / "best.pt", weights_only=True)["epoch"] == 3
    assert not list(run.glob(".before-*"))
