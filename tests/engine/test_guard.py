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
    guard = BadStepGuard(2, str)
    watch(guard, [BAD, GOOD, BAD, GOOD, BAD])
    assert (guard.good_step, guard.in_a_row) == (4, 1)


def test_bad_steps_in_a_row_stop_the_run_with_step_losses_and_samples():
    guard = BadStepGuard(3, lambda: "last.pt holds step 1")
    with pytest.raises(TrainingError) as caught:
        watch(guard, [GOOD, BAD, BAD, BAD])
    message = str(caught.value)
    assert "step 4" in message and "sdm=nan, id=2.5" in message and "samples 41, 7" in message
    assert "last.pt holds step 1; lower optim.lr" in message
