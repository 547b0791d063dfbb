"""Several processes as one: start-up, gathering with gradient, sums over ranks.

The rule of every loss: a rank returns its share of the global loss (the sum over its own rows, divided by
the global count); the shares of all ranks add up to the loss of one process on the whole batch. The
trainer multiplies by the number of ranks before the backward pass, so DDP's mean of gradients is the
gradient of the global loss.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from tpr.errors import ConfigError, TrainingError, first_line
from tpr.meeting import meet
from tpr.processes import claim_last_word, is_main_rank, is_speaker, rank, read_launch, world_size

__all__ = [
    "barrier",
    "claim_last_word",
    "cut_share",
    "gather",
    "is_lost_contact",
    "is_main_rank",
    "is_speaker",
    "local_rank",
    "local_slice",
    "main_rank_first",
    "rank",
    "rows_per_rank",
    "share_object",
    "start",
    "stop",
    "sum_over_ranks",
    "world_size",
]


def local_rank() -> int:
    """Number of this process on its machine, as torchrun gives it."""
    launch = read_launch()
    return 0 if launch is None else launch.local_rank


def rows_per_rank(total: int) -> list[int]:
    """How a global batch of `total` rows is cut: contiguous, earlier ranks take the remainder."""
    size, extra = divmod(total, world_size())
    return [size + (index < extra) for index in range(world_size())]


def local_slice(total: int) -> slice:
    """The rows of a global batch that belong to this rank."""
    return cut_share(total, rank(), world_size())


def cut_share(total: int, rank: int, world: int) -> slice:
    """The rows of a global batch that belong to one rank of `world`, cut as `rows_per_rank` does."""
    size, extra = divmod(total, world)
    start = rank * size + min(rank, extra)
    return slice(start, start + size + (rank < extra))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor, rows: list[int]) -> Tensor:
        ctx.rows = rows
        return _gather_rows(local, rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].contiguous()
        dist.all_reduce(total)
        start = sum(ctx.rows[: rank()])
        return total[start : start + ctx.rows[rank()]], None


def _gather_rows(local: Tensor, rows: list[int]) -> Tensor:
    longest = max(rows)
    padded = local.new_zeros((longest, *local.shape[1:]))
    padded[: local.shape[0]] = local
    gathered = [torch.empty_like(padded) for _ in rows]
    dist.all_gather(gathered, padded)
    return torch.cat([part[:count] for part, count in zip(gathered, rows, strict=True)])


def gather(local: Tensor, total: int, repeats: int = 1) -> Tensor:
    """Rows of all ranks in rank order, (total x repeats, ...); gradients flow back to a row's own rank.

    local: this rank's rows, `repeats` for each of its `rows_per_rank(total)[rank]` samples. With one
    process: `local` itself.
    """
    if world_size() == 1:
        return local
    rows = [count * repeats for count in rows_per_rank(total)]
    if local.requires_grad:
        result: Tensor = _Gather.apply(local, rows)  # type: ignore[no-untyped-call]
        return result
    return _gather_rows(local, rows)


def sum_over_ranks(value: Tensor) -> Tensor:
    """The sum of a tensor over all ranks, without gradient; `value` itself is left alone."""
    if world_size() == 1:
        return value.detach()
    total = value.detach().clone()
    dist.all_reduce(total)
    return total


def start(device: torch.device, timeout_seconds: int) -> None:
    """Join the other processes of the launch; nothing to do for a single one.

    Raises ConfigError or TrainingError in one line where they cannot meet.
    """
    launch = None if dist.is_initialized() else read_launch()
    if launch is None:
        return
    if device.type == "cuda":
        if launch.local_rank >= torch.cuda.device_count():
            raise ConfigError(
                f"LOCAL_RANK={launch.local_rank}: more processes than the {torch.cuda.device_count()} "
                "visible GPUs of this machine; lower NPROC, or compute with runtime.device=cpu"
            )
        torch.cuda.set_device(device)
    store = meet(launch, timeout_seconds)
    try:
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=store,
            rank=launch.rank,
            world_size=launch.world,
            timeout=timedelta(seconds=timeout_seconds),
        )
    except RuntimeError as error:
        reason = first_line(error)
        raise TrainingError(
            f"rank {launch.rank}: the processes met but cannot be connected ({reason}); see that the "
            "machines reach each other on all ports"
        ) from error


def stop() -> None:
    """Leave the group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def barrier() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        dist.barrier()


@contextmanager
def main_rank_first() -> Iterator[None]:
    """Let the main process go first, so that the others find what it has cached, or the same mistake."""
    if not is_main_rank():
        barrier()
    try:
        yield
    finally:
        if is_main_rank():
            barrier()


def share_object(value: Any) -> Any:
    """The main process's value, on every process."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def is_lost_contact(error: BaseException) -> bool:
    """True where a collective failed because another process is gone or did not answer in time."""
    words = ("closed by peer", "reset by peer", "timed out", "timeout", "broken pipe", "nccl")
    return world_size() > 1 and any(word in str(error).lower() for word in words)
