from pathlib import Path

import pytest
import torch

from tpr.engine.guard import BadStepGuard
from tpr.errors import TrainingError
from tpr.systems.base import StepOutput

GOOD, BAD = torch.tensor(0.0), torch.tensor(1.0)


def watch(guard, flags):
    for step, flag in enumerate(flags, 1):
        output = StepOutput({"sdm": torch.tensor(float("nan")), "id": torch.tensor(2.5)})
        guard.watch(step, flag, output, torch.tensor([41, 7]))


def test_single_bad_steps_pass():
    watch(BadStepGuard(2, Path("last.pt")), [BAD, GOOD, BAD, GOOD, BAD])


def test_bad_steps_in_a_row_stop_the_run_with_step_losses_and_samples(tmp_path):
    (tmp_path / "last.pt").touch()
    guard = BadStepGuard(3, tmp_path / "last.pt")
    with pytest.raises(TrainingError) as caught:
        watch(guard, [GOOD, BAD, BAD, BAD])
    message = str(caught.value)
    assert "step 4" in message and "sdm=nan, id=2.5" in message and "samples 41, 7" in message
    assert f"{tmp_path / 'last.pt'} is kept" in message


def test_a_run_that_fails_before_it_was_saved_does_not_promise_a_checkpoint(tmp_path):
    with pytest.raises(TrainingError, match="nothing was saved yet"):
        watch(BadStepGuard(1, tmp_path / "last.pt"), [BAD])
