"""The loop of trainings outside the trainer: steps, saved states, a clean stop, and going on afterwards."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from tpr.engine.resuming import compare_tensors, load_optimizer, refuse
from tpr.engine.stopping import Stopping

T = TypeVar("T")


def take_steps(
    batches: Iterable[T],
    take: Callable[[T], None],
    save: Callable[[int], None],
    *,
    first: int,
    total: int,
    every: int,
    state: Path,
) -> None:
    """Take the steps from `first` on, one per batch.

    save: writes `state`, told how many steps are done; called after every `every` steps, at the end, and
    before a signal ends the process.
    """
    with Stopping() as stopping:
        for done, batch in enumerate(batches, first + 1):
            take(batch)
            if done == total or done % every == 0 or stopping.is_asked():
                save(done)
            if stopping.is_asked():
                stopping.leave(state, done)


def take_over(
    path: Path,
    state: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    *,
    own: Mapping[str, Tensor],
    total: int,
) -> int:
    """The step of a saved state, once its optimiser is taken over; weights: the state's, own: the model's.

    Raises CheckpointError where the state is not one of this training of `total` steps.
    """
    problem = compare_tensors(weights, own, "weights")
    if not 0 < state["step"] <= total:
        problem = f"it stands at step {state['step']:,} of {total:,}"
    if problem:
        raise refuse(path, problem)
    load_optimizer(optimizer, state["optimizer"], path)
    return int(state["step"])
