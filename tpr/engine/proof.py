"""Proof that weights are of use which no further step will show: a step is computed and not taken."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from tpr import distributed
from tpr.engine.optim import gradient_norm
from tpr.systems.base import System


def is_good_step(compute: Callable[[], Tensor], system: System, *, scaled: bool) -> bool:
    """Whether loss and gradient of a step are finite, the same on every rank; the system is left as it was.

    compute: gives this rank's share of the loss. scaled: under float16's loss scaling gradients may overflow
    in a good step, so that the loss alone decides.
    """
    with _put_back(system):
        total = compute()
        finite = torch.isfinite(distributed.sum_over_ranks(total))
        system.zero_grad(set_to_none=True)
        (total * distributed.world_size()).backward()  # type: ignore[no-untyped-call]
        if not scaled:
            finite = finite & torch.isfinite(gradient_norm(system))
        system.zero_grad(set_to_none=True)
    return bool(finite)


@contextmanager
def _put_back(system: System) -> Iterator[None]:
    """Undo what a forward pass writes besides the weights: running statistics and tables."""
    buffers = [(buffer, buffer.clone()) for buffer in system.buffers()]
    # What `save` gives may be the table's own memory.
    saved = {name: table.save() for name, table in system.tables.items()}
    tables = {name: None if values is None else values.clone() for name, values in saved.items()}
    yield
    with torch.no_grad():
        for buffer, value in buffers:
            buffer.copy_(value)
    device = next(system.parameters()).device
    for name, table in system.tables.items():
        table.load(tables[name], device)
