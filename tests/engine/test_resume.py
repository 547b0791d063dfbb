"""A run that is cut off and continued must equal the uninterrupted one bit for bit."""

import os
import signal
from dataclasses import replace

import pytest
import torch

from tests.data.small_slots import make_slots
from tests.engine.small_runs import make_corpus, make_experiment, make_trainer, states_are_equal
from tpr.config.noise import NoiseOptions as NoisyCaptions
from tpr.config.schema import Choice, OptimOptions, ScheduleOptions
from tpr.objectives.consensus import DivisionOptions
from tpr.systems.base import Progress
from tpr.systems.mllm4text import MaskNoiseOptions, Mllm4TextOptions
from tpr.systems.rde import RdeOptions
from tpr.systems.tvi_lfm_options import TviLfmOptions

LOSSES = {"sdm": 1.0, "id": 1.0, "mlm": 1.0}
SLOW_CUTS = [(1, 0), (3, 0), (4, 0), (6, 0), (1, 2), (3, 2), (4, 2)]


def run_steps(trainer, limit, save_every_steps=1000):
    """Train up to `limit` steps; the losses of each step. A run that is cut writes its state anyway."""
    totals = []
    step = trainer.step

    def note(batch):
        output = step(batch)
        totals.append(torch.stack([value.detach() for value in output.losses.values()]))
        return output

    trainer.step = note
    runtime = replace(trainer.experiment.runtime, max_steps=limit, save_every_steps=save_every_steps)
    trainer.experiment = replace(trainer.experiment, runtime=runtime)
    trainer.fit()
    return totals


# Four steps make an epoch: the cuts fall inside epochs, at an end, and right after the first step.
@pytest.mark.parametrize(
    ("cut", "workers"),
    [(6, 2), *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW_CUTS)],
)
def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path, workers, cut):
    corpus = make_corpus(tmp_path)
    experiment = make_experiment(tmp_path, LOSSES)
    whole = make_trainer(experiment, corpus, tmp_path / "whole", workers=workers)
    expected = run_steps(whole, cut + 5)

    first = make_trainer(experiment, corpus, tmp_path / "cut", workers=workers)
    run_steps(first, cut)
    second = make_trainer(experiment, corpus, tmp_path / "cut", workers=workers)
    assert second.resume()
    found = run_steps(second, cut + 5)

    assert len(found) == 5
    assert all(torch.equal(one, two) for one, two in zip(expected[cut:], found, strict=True))
    assert states_are_equal(whole.system.state_dict(), second.system.state_dict())
    assert states_are_equal(whole.optimizer.state_dict(), second.optimizer.state_dict())
    assert (whole.best, whole.epoch, whole.steps_done) == (second.best, second.epoch, second.steps_done)


def test_adan_under_a_linear_schedule_resumes_bit_for_bit_after_a_bad_first_step(tmp_path):
    corpus = make_corpus(tmp_path)
    experiment = replace(
        make_experiment(tmp_path, {"sdm": 1.0}),
        optim=OptimOptions(name="adan", betas=(0.98, 0.92, 0.99), lr=1e-3, eps=1e-8),
        schedule=ScheduleOptions(epochs=4, name="linear", warmup_steps=3, per="step"),
    )

    def make(name):
        trainer = make_trainer(experiment, corpus, tmp_path / name)
        update = trainer.update
        trainer.update = lambda total, whole: update(
            *((total, whole) if trainer.steps_done else (total * torch.nan, whole * torch.nan))
        )
        return trainer

    whole = make("whole")
    expected = run_steps(whole, 6)
    assert [group["step"] for group in whole.optimizer.param_groups] == [5] * len(
        whole.optimizer.param_groups
    )
    for cut in (1, 3):
        run_steps(make(f"cut-{cut}"), cut)
        second = make(f"cut-{cut}")
        assert second.resume()
        found = run_steps(second, 6)
        assert all(torch.equal(one, two) for one, two in zip(expected[cut:], found, strict=True))
        assert states_are_equal(whole.system.state_dict(), second.system.state_dict())
        assert states_are_equal(whole.optimizer.state_dict(), second.optimizer.state_dict())


# Four steps make an epoch: cuts in the first epoch and in the second, whose masks follow the first's
# scores, and at the ends of both.
@pytest.mark.parametrize(
    ("cut", "momentum"),
    [
        (6, 0.5),
        *(pytest.param(cut, 0.0, marks=pytest.mark.slow) for cut in (2, 4, 6, 8)),
        *(pytest.param(cut, 0.5, marks=pytest.mark.slow) for cut in (2, 4, 8)),
    ],
)
def test_scores_of_words_survive_a_cut(tmp_path, cut, momentum):
    corpus = make_corpus(tmp_path)
    options = Mllm4TextOptions(temperature=0.1, mask_rate=0.3, nam=MaskNoiseOptions(momentum=momentum))
    experiment = make_experiment(tmp_path, Choice("mllm4text", options))
    whole = make_trainer(experiment, corpus, tmp_path / "whole")
    expected = run_steps(whole, 10)

    first = make_trainer(experiment, corpus, tmp_path / "cut")
    run_steps(first, cut)
    second = make_trainer(experiment, corpus, tmp_path / "cut")
    assert second.resume()
    found = run_steps(second, 10)

    assert all(torch.equal(one, two) for one, two in zip(expected[cut:], found, strict=True))
    assert states_are_equal(whole.system.state_dict(), second.system.state_dict())
    one, two = (trainer.system.scores.save() for trainer in (whole, second))
    assert torch.equal(one.nan_to_num(9), two.nan_to_num(9))
    # Without its scores the run would have gone on differently.
    third = make_trainer(experiment, corpus, tmp_path / "cut")
    path = tmp_path / "forgetful"
    path.mkdir()
    state = torch.load(tmp_path / "cut" / "last.pt", weights_only=True)
    assert state["tables"]["scores"].isnan().any() and not state["tables"]["scores"].isnan().all()
    third.folder = path
    torch.save(state | {"tables": {"scores": None}}, path / "last.pt")
    assert third.resume()
    third.system.eval()
    batch = next(iter(third.loader.epoch(4)))
    progress = Progress(seed=1, epoch=4, step=12)
    with torch.no_grad():
        forgotten, kept = (system(batch, progress).losses["sdm"] for system in (third.system, second.system))
    assert forgotten != kept


# Cuts in the middle of the first and of the second epoch, and at the end of the first, where the division of
# the second is still to come.
@pytest.mark.parametrize(
    ("cut", "reuse"),
    [
        (6, False),
        *(pytest.param(cut, False, marks=pytest.mark.slow) for cut in (2, 4)),
        *(pytest.param(cut, True, marks=pytest.mark.slow) for cut in (2, 4, 6)),
    ],
)
def test_the_division_into_clean_and_noisy_pairs_survives_a_cut(tmp_path, cut, reuse):
    corpus = make_corpus(tmp_path)
    options = RdeOptions(selected_width=24, division=DivisionOptions(reuse_losses=reuse))
    experiment = make_experiment(tmp_path, Choice("rde", options), noise=NoisyCaptions(rate=0.4))
    whole = make_trainer(experiment, corpus, tmp_path / "whole")
    expected = run_steps(whole, 10)

    first = make_trainer(experiment, corpus, tmp_path / "cut")
    run_steps(first, cut)
    marks = first.system.division.marks.save()
    second = make_trainer(experiment, corpus, tmp_path / "cut")
    assert second.resume()
    assert torch.equal(second.system.division.marks.save(), marks)
    surveys = []
    second.loader.survey = count_calls(second.loader.survey, surveys)
    found = run_steps(second, 10)

    # Four steps make an epoch; the divisions of the epochs that begin after the cut are made anew.
    assert len(surveys) == (0 if reuse else 3 - (cut + 3) // 4)
    assert all(torch.equal(one, two) for one, two in zip(expected[cut:], found, strict=True))
    assert states_are_equal(whole.system.state_dict(), second.system.state_dict())
    for name, table in whole.system.tables.items():
        assert torch.equal(table.save(), second.system.tables[name].save()), name
    noisy = whole.system.division.marks.save() == 127
    assert 0 < noisy.sum() < len(noisy)


# Two steps make an epoch; the head of the base training is kept before the first one.
@pytest.mark.parametrize("cut", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_a_cut_leaves_slots_norms_and_the_kept_head_as_they_were(tmp_path, cut):
    corpus = make_slots(tmp_path)
    experiment = make_experiment(tmp_path, Choice("tvi_lfm", TviLfmOptions(visual="drifting")))
    whole = make_trainer(experiment, corpus, tmp_path / "whole")
    expected = run_steps(whole, 6)

    run_steps(make_trainer(experiment, corpus, tmp_path / "cut"), cut)
    second = make_trainer(experiment, corpus, tmp_path / "cut")
    assert second.resume()
    assert second.system.has_base
    found = run_steps(second, 6)

    assert all(torch.equal(one, two) for one, two in zip(expected[cut:], found, strict=True))
    assert states_are_equal(whole.system.state_dict(), second.system.state_dict())
    assert states_are_equal(whole.optimizer.state_dict(), second.optimizer.state_dict())


def count_calls(function, calls):
    def call(*arguments, **named):
        calls.append(arguments)
        return function(*arguments, **named)

    return call


def test_a_new_run_has_nothing_to_resume_and_begins_a_new_journal(tmp_path):
    corpus = make_corpus(tmp_path)
    trainer = make_trainer(make_experiment(tmp_path, LOSSES), corpus, tmp_path / "new")
    assert not trainer.resume()
    assert trainer.recorder.rewound == [0]


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A run of eight steps that logs every third and at the ends of epochs: experiment, corpus and log."""
    folder = tmp_path_factory.mktemp("logged")
    corpus = make_corpus(folder)
    experiment = make_experiment(folder, {"sdm": 1.0})
    experiment = replace(experiment, runtime=replace(experiment.runtime, log_every_steps=3, max_steps=8))
    whole = make_trainer(experiment, corpus, folder / "whole")
    whole.fit()
    return experiment, corpus, whole.recorder.steps


@pytest.mark.slow
@pytest.mark.parametrize("stop", [3, 4, 5])
def test_means_of_a_stopped_and_resumed_run_are_of_all_steps_that_they_name(tmp_path, logged, stop):
    experiment, corpus, expected = logged
    first = make_trainer(experiment, corpus, tmp_path / "cut")
    advance, done = first.recorder.advance, []

    def stop_here(pairs):
        advance(pairs)
        done.append(pairs)
        if len(done) == stop:
            os.kill(os.getpid(), signal.SIGTERM)

    first.recorder.advance = stop_here
    with pytest.raises(SystemExit):
        first.fit()
    second = make_trainer(experiment, corpus, tmp_path / "cut")
    assert second.resume()
    assert second.recorder.rewound == [stop]
    second.fit()
    assert first.recorder.steps + second.recorder.steps == expected


@pytest.mark.slow
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


@pytest.mark.parametrize("steps", [3, 7, pytest.param(14, marks=pytest.mark.slow)])
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
    run_steps(trainer, 2, save_every_steps=1)
    now = {name: value.clone() for name, value in trainer.system.state_dict().items()}
    forward = trainer.system.losses

    def spoil(features, batch, progress):
        output = forward(features, batch, progress)
        return replace(output, losses={name: value * float("nan") for name, value in output.losses.items()})

    trainer.system.losses = spoil
    trainer.experiment = replace(
        trainer.experiment, runtime=replace(trainer.experiment.runtime, max_steps=20)
    )
    with pytest.raises(
        TrainingError, match=r"step 5: .*not finite for 3 steps in a row.*samples.*last\.pt holds step 1,"
    ):
        trainer.fit()
    assert states_are_equal(trainer.system.state_dict(), now)
    # Nothing proves the state after step 2, from which no good step was taken; step 2 proves the one before.
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["step"] == 1
