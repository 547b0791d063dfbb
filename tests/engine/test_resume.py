"""A run that is cut off and continued must equal the uninterrupted one bit for bit."""

from dataclasses import replace

import pytest
import torch

from tests.engine.small_runs import make_corpus, make_experiment, make_trainer

LOSSES = {"sdm": 1.0, "id": 1.0, "mlm": 1.0}


def run_steps(trainer, limit):
    """Train up to `limit` steps; the total loss of each step."""
    totals = []
    step = trainer.step

    def note(batch):
        output = step(batch)
        totals.append(torch.stack([value.detach() for value in output.losses.values()]))
        return output

    trainer.step = note
    trainer.experiment = replace(
        trainer.experiment, runtime=replace(trainer.experiment.runtime, max_steps=limit, save_every_steps=1)
    )
    trainer.fit()
    return totals


def states_are_equal(one, two):
    """Exact equality of nested states."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(states_are_equal(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(states_are_equal, one, two))
    return one == two


@pytest.mark.parametrize("workers", [0, 2])
# Four steps make an epoch: the cuts fall inside epochs, at an end, and right after the first step.
@pytest.mark.parametrize("cut", [1, 3, 4, 6])
def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path, workers, cut):
    corpus = make_corpus(tmp_path)
    experiment = make_experiment(tmp_path, LOSSES)
    whole = make_trainer(experiment, corpus, tmp_path / "whole", workers=workers)
    expected = run_steps(whole, cut + 10)

    first = make_trainer(experiment, corpus, tmp_path / "cut", workers=workers)
    run_steps(first, cut)
    second = make_trainer(experiment, corpus, tmp_path / "cut", workers=workers)
    assert second.resume()
    found = run_steps(second, cut + 10)

    assert len(found) == 10
    assert all(torch.equal(one, two) for one, two in zip(expected[cut:], found, strict=True))
    assert states_are_equal(whole.system.state_dict(), second.system.state_dict())
    assert states_are_equal(whole.optimizer.state_dict(), second.optimizer.state_dict())
    assert (whole.best, whole.epoch, whole.steps_done) == (second.best, second.epoch, second.steps_done)


def test_a_new_run_has_nothing_to_resume(tmp_path):
    corpus = make_corpus(tmp_path)
    assert not make_trainer(make_experiment(tmp_path, LOSSES), corpus, tmp_path / "new").resume()


def test_best_is_kept_and_last_goes_on(tmp_path):
    corpus = make_corpus(tmp_path)
    trainer = make_trainer(make_experiment(tmp_path, LOSSES), corpus, tmp_path / "run")
    scores = iter([0.5, 0.9, 0.7, 0.8])
    trainer.scorer = lambda system, epoch, step: next(scores)
    trainer.fit()
    best = torch.load(tmp_path / "run" / "best.pt", weights_only=True)
    last = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert (best["epoch"], best["best"], last["epoch"], last["best"]) == (2, 0.9, 5, 0.9)
    assert "optimizer" not in best and "optimizer" in last


@pytest.mark.parametrize("steps", [3, 7, 14])
def test_a_run_cut_anywhere_has_a_best_and_a_last_checkpoint(tmp_path, steps):
    # Seven steps make an epoch: the cuts fall inside the first, at its end and at the end of the second.
    corpus = make_corpus(tmp_path, images=26)
    experiment = make_experiment(tmp_path, LOSSES)
    experiment = replace(experiment, evaluation=replace(experiment.evaluation, select_on="last"))
    trainer = make_trainer(experiment, corpus, tmp_path / "run")
    run_steps(trainer, steps)
    assert trainer.steps_per_epoch == 7
    assert torch.load(tmp_path / "run" / "best.pt", weights_only=True)["step"] == steps
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["step"] == steps
    assert trainer.recorder.steps[-1][0] == steps


def test_a_nan_in_a_loss_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path):
    from tpr.errors import TrainingError

    corpus = make_corpus(tmp_path)
    trainer = make_trainer(make_experiment(tmp_path, LOSSES), corpus, tmp_path / "run")
    run_steps(trainer, 2)
    good = {name: value.clone() for name, value in trainer.system.state_dict().items()}
    forward = trainer.system.losses

    def spoil(features, batch, progress):
        output = forward(features, batch, progress)
        return replace(output, losses={name: value * float("nan") for name, value in output.losses.items()})

    trainer.system.losses = spoil
    trainer.experiment = replace(
        trainer.experiment, runtime=replace(trainer.experiment.runtime, max_steps=20)
    )
    with pytest.raises(TrainingError, match=r"step 5: .*not finite for 3 steps in a row.*samples"):
        trainer.fit()
    assert states_are_equal(trainer.system.state_dict(), good)
    last = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert states_are_equal(last["model"], good)
