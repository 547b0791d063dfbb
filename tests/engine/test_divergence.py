"""Runs whose weights leave the numbers: nothing of them replaces a sound state."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.engine.small_runs import make_corpus, make_experiment, make_trainer, states_are_equal
from tpr.commands.train import close_run
from tpr.config.schema import Choice
from tpr.engine.trainer import Trainer
from tpr.errors import TrainingError
from tpr.systems.mllm4text import MaskNoiseOptions, Mllm4TextOptions


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
    set_rate(trainer, 5, 1e30)
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
    spoil_from(trainer, 15)
    trainer.fit()
    run = tmp_path / "run"
    assert torch.load(run / "last.pt", weights_only=True)["step"] == 14
    assert torch.load(run / "best.pt", weights_only=True)["epoch"] == 3
    assert not list(run.glob(".before-*"))


def set_rate(trainer: Trainer, step: int, rate: float) -> None:
    """Let the trainer take one step with another rate."""
    take = trainer.step

    def step_with_rate(batch):  # type: ignore[no-untyped-def]
        if trainer.steps_done == step:
            for group in trainer.optimizer.param_groups:
                group["base_lr"] = rate
        return take(batch)

    trainer.step = step_with_rate  # type: ignore[method-assign]


def read_kept(folder: Path) -> dict[str, int]:
    return {path.name: torch.load(path, weights_only=True)["step"] for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("last_step", "kept", "best"),
    [
        pytest.param(7, 6, 4, id="within an epoch", marks=pytest.mark.slow),
        pytest.param(8, 7, 4, id="at its end", marks=pytest.mark.slow),
        pytest.param(16, 15, 12, id="at the end of the run"),
    ],
)
def test_a_last_step_that_makes_weights_huge_is_not_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, last_step: int, kept: int, best: int
) -> None:
    trainer = make_run(tmp_path, max_steps=last_step)
    set_rate(trainer, last_step - 1, 1e30)
    trainer.fit()
    assert largest_parameter(trainer) > 1e20, "the weights are finite, and of no use"
    run = tmp_path / "run"
    assert read_kept(run) == {"last.pt": kept, "best.pt": best}
    assert (
        f"step {last_step} left weights whose losses or gradients are not finite; {run / 'last.pt'} holds "
        f"step {kept}, the newest state from which a good step was taken; lower optim.lr"
    ) in caplog.text


def test_of_a_run_that_is_cut_after_one_huge_step_nothing_is_kept(tmp_path: Path) -> None:
    trainer = make_run(tmp_path, lr=1e30, max_steps=1)
    trainer.fit()
    assert list((tmp_path / "run").iterdir()) == []


def test_a_cut_run_whose_last_step_was_bad_keeps_what_was_sound_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = make_run(tmp_path, max_steps=6)
    spoil_from(trainer, 4)
    trainer.fit()
    assert read_kept(tmp_path / "run")["last.pt"] == 3
    assert "the last 2 steps were not finite and are left out; " in caplog.text


def spoil_from(trainer: Trainer, step: int) -> None:
    forward = trainer.system.losses

    def spoil(features, batch, progress):  # type: ignore[no-untyped-def]
        output = forward(features, batch, progress)
        if progress.step >= step:
            return replace(output, losses={"sdm": output.losses["sdm"] * float("nan")})
        return output

    trainer.system.losses = spoil  # type: ignore[method-assign]


def test_features_that_an_evaluation_finds_not_finite_leave_the_newest_sound_state(tmp_path: Path) -> None:
    trainer = make_run(tmp_path, max_steps=3)

    def score(*_: object) -> float:
        raise TrainingError("7 of 9 image features are not finite")

    trainer.scorer = score
    last = tmp_path / "run" / "last.pt"
    with pytest.raises(TrainingError, match=rf"step 3: 7 of 9 image .*; {last} holds step 2, the newest"):
        trainer.fit()
    assert read_kept(tmp_path / "run") == {"last.pt": 2}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_sound_last_step_is_repeated_without_a_trace(tmp_path: Path, workers: int) -> None:
    options = Mllm4TextOptions(temperature=0.1, mask_rate=0.3, nam=MaskNoiseOptions(momentum=0.5))
    experiment = make_experiment(tmp_path, Choice("mllm4text", options))
    experiment = replace(experiment, runtime=replace(experiment.runtime, max_steps=3))
    trainer = make_trainer(experiment, make_corpus(tmp_path), tmp_path / "run", workers=workers)
    trainer.fit()
    kept = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    now = trainer.describe(with_optimizer=True)
    for state in (kept, now):
        state["tables"] = state["tables"]["scores"].nan_to_num(nan=-9.0)
    for part in ("model", "tables", "optimizer", "meter"):
        assert states_are_equal(kept[part], now[part]), part


def test_a_closing_evaluation_that_is_not_finite_puts_the_newest_sound_states_back(tmp_path: Path) -> None:
    trainer = make_run(tmp_path, max_steps=8)
    trainer.fit()
    assert read_kept(tmp_path / "run")["best.pt"] == 8
    data = replace(trainer.experiment.data, test=(Choice("jsonl", None),))
    trainer.experiment = replace(trainer.experiment, data=data)

    def evaluate(*_: object) -> None:
        raise TrainingError("7 of 9 image features are not finite")

    evaluator, recorder = (
        SimpleNamespace(evaluate=evaluate),
        SimpleNamespace(progress=SimpleNamespace(close=int)),
    )
    with pytest.raises(TrainingError, match=r"^step 8: 7 of 9 image .* holds step 7, the newest"):
        close_run(trainer, evaluator, recorder, {})  # type: ignore[arg-type]
    assert read_kept(tmp_path / "run") == {"last.pt": 7, "best.pt": 4}
