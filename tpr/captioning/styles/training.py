"""Teaching styles to a captioning model: the loop, its checkpoint, and how a run goes on.

Which captions a step has is a function of (seed, step) alone, so a resumed run takes the steps that it would
have taken.
"""

import inspect
import logging
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tpr import distributed
from tpr.captioning.engines.captioners import ChatCaptioner
from tpr.captioning.engines.transformers_loading import choose_device, choose_dtype, load_captioner
from tpr.captioning.listing import hash_file
from tpr.captioning.styles.batches import StyledBatch, make_batch
from tpr.captioning.styles.examples import Example, read_examples
from tpr.captioning.styles.gap import hold_out, measure_gap
from tpr.captioning.styles.model import ROWS, StyledModel, check_extra, recompute_layers
from tpr.captioning.styles.options import OF_THE_MACHINE, TrainOptions
from tpr.captioning.styles.rows import StyleRows, add_styles, draw_rows
from tpr.captioning.styles.run_folder import KIND, LAST, append_log, cut_log, read_styles
from tpr.config.resolved import plain_value
from tpr.engine.checkpoint import write_checkpoint
from tpr.engine.resuming import describe_optimizer
from tpr.engine.small_loop import take_over, take_steps
from tpr.errors import ConfigError, DataError, TrainingError
from tpr.report.console import format_duration

logger = logging.getLogger(__name__)

BETAS = (0.9, 0.999)


@dataclass(frozen=True)
class Data:
    """Instruction data as read."""

    path: Path
    examples: list[Example]
    held: list[Example]
    """Of images that are measured on, not learned from."""
    styles: int


def rate_factor(options: TrainOptions, step: int, total: int) -> float:
    """Share of the highest rates in step `step`, from 0.

    Source: HAM's scripts name a cosine that DeepSpeed replaces; log_constant is its WarmupLR.
    """
    warmup = math.ceil(options.warmup * total)
    if options.schedule == "log_constant":
        return math.log(step + 1) / math.log(warmup) if step < warmup and warmup > 1 else 1.0
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


class StyleTrainer:
    """Trains styles on this process's part of every step."""

    def __init__(self, folder: Path, data: Data, options: TrainOptions) -> None:
        """Load the model and go on from the folder's last.pt, if there is one. Raises UserError."""
        self.folder, self.data, self.options = folder, data, options
        check_extra()
        # Fast tokenizers refuse two threads at once ("Already borrowed").
        self.reading = Lock()
        self.device = choose_device(options.device)
        if self.device.type == "cuda":
            self.device = torch.device("cuda", distributed.local_rank() % torch.cuda.device_count())
        distributed.start(self.device, options.timeout_seconds)
        self.rows_here = distributed.local_slice(options.batch)
        if options.batch < distributed.world_size():
            raise ConfigError(f"batch={options.batch} is less than {distributed.world_size()} processes")
        former = self.read_former()
        self.captioner, self.rows = load_styled(options, data.styles)
        values = draw_rows(self.captioner.model, self.rows, options.init, options.seed)
        self.model = StyledModel(self.captioner, self.rows, values).to(self.device)
        if options.checkpointing:
            recompute_layers(self.captioner.model)
        self.wrapped = wrap(self.model, self.device)
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [self.model.trained[ROWS]], "lr": options.lr, "highest": options.lr},
                {
                    "params": [value for name, value in self.model.trained.items() if name != ROWS],
                    "lr": options.projector_lr,
                    "highest": options.projector_lr,
                },
            ],
            betas=BETAS,
            weight_decay=0.0,
        )
        self.step_number = 0
        if former is not None:
            self.take_over(former)
            cut_log(folder, self.step_number)
            logger.info("%s: going on after step %d of %d", folder / LAST, self.step_number, self.total_steps)

    def take_over(self, state: dict[str, Any]) -> None:
        """Stand where a state stood that `save` wrote. Raises CheckpointError where it does not fit."""
        stored, own = state["trained"], self.model.trained
        self.step_number = take_over(
            self.folder / LAST, state, stored, self.optimizer, own=own, total=self.total_steps
        )
        self.model.load_trained(stored)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one pass; the last one is filled up with the pass's first captions."""
        return -(-len(self.data.examples) // self.options.batch)

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.options.epochs * self.steps_per_epoch

    def choose(self, step: int) -> list[Example]:
        """This process's captions of a step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        draw = np.random.Generator(np.random.PCG64([self.options.seed, epoch]))
        order = draw.permutation(len(self.data.examples))
        start = place * self.options.batch
        wanted = np.arange(start + self.rows_here.start, start + self.rows_here.stop) % len(order)
        return [self.data.examples[index] for index in order[wanted]]

    def prepare(self, step: int) -> list[StyledBatch]:
        """A step's captions in parts of `micro_batch`."""
        chosen, size = self.choose(step), self.options.micro_batch
        with self.reading:
            return [
                make_batch(
                    self.captioner,
                    chosen[start : start + size],
                    self.options.root,
                    self.options.longest_caption,
                )
                for start in range(0, len(chosen), size)
            ]

    def prepare_ahead(self) -> Iterator[list[StyledBatch]]:
        """The steps that are left; a thread reads the next one's images meanwhile."""
        left = range(self.step_number, self.total_steps)
        with ThreadPoolExecutor(1) as pool:
            waiting = [pool.submit(self.prepare, step) for step in left[:1]]
            for step in left:
                parts = waiting.pop().result()
                waiting = [pool.submit(self.prepare, step + 1)] if step + 1 in left else []
                yield parts

    def run(self) -> None:
        """Train what is left, write last.pt on the way and at the end."""
        self.started, self.steps_since = time.monotonic(), 0
        self.losses: list[Tensor] = []
        self.model.train()
        take_steps(
            self.prepare_ahead(),
            self.take,
            self.save,
            first=self.step_number,
            total=self.total_steps,
            every=self.options.save_every_steps,
            state=self.folder / LAST,
        )

    def take(self, parts: list[StyledBatch]) -> None:
        """One step, and what is said after some of them."""
        self.losses.append(self.step(parts))
        if self.step_number == self.total_steps or self.step_number % self.options.log_every_steps == 0:
            self.log(self.losses)
            self.losses = []
        if self.step_number % self.steps_per_epoch == 0:
            self.measure()

    def step(self, parts: list[StyledBatch]) -> Tensor:
        """One optimiser step; returns this process's share of the mean loss per token."""
        factor = rate_factor(self.options, self.step_number, self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["highest"] * factor
        count = torch.tensor([sum(part.label_count for part in parts)], device=self.device)
        tokens = distributed.sum_over_ranks(count)
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros(1, device=self.device)
        for number, part in enumerate(parts):
            is_last = number == len(parts) - 1
            waits = isinstance(self.wrapped, DistributedDataParallel) and not is_last
            with cast(DistributedDataParallel, self.wrapped).no_sync() if waits else nullcontext():
                share = self.model.compute(part, self.wrapped) / tokens
                # Shares add up over processes, DDP takes the mean of their gradients.
                (share * distributed.world_size()).sum().backward()  # type: ignore[no-untyped-call]
            total += share.detach()
        norm = nn.utils.clip_grad_norm_(list(self.model.trained.values()), self.options.clip)
        if not torch.isfinite(norm):
            raise TrainingError(
                f"step {self.step_number + 1}: the gradient is not finite; lower lr or projector_lr; "
                f"{self.folder / LAST} holds what was saved before"
            )
        self.optimizer.step()
        self.step_number += 1
        return total

    def log(self, losses: list[Tensor]) -> None:
        """One line on the screen and one of JSON."""
        mean = float(distributed.sum_over_ranks(torch.cat(losses)).mean())
        self.steps_since += len(losses)
        rate = self.steps_since / max(time.monotonic() - self.started, 1e-9)
        rates = [group["lr"] for group in self.optimizer.param_groups]
        values = {"loss": mean, "lr": rates[0], "projector_lr": rates[1]}
        append_log(self.folder, self.step_number, values)
        logger.info(
            "step %s of %s  loss %.4f  %.2f captions/s  %s left",
            f"{self.step_number:,}", f"{self.total_steps:,}", mean, rate * self.options.batch,
            format_duration((self.total_steps - self.step_number) / rate),
        )  # fmt: skip

    def measure(self) -> None:
        """Whether captions that were not learned are likelier in their own style."""
        options = self.options
        with self.reading:
            gap = measure_gap(
                self.model,
                self.captioner,
                self.data.held,
                root=options.root,
                part=options.micro_batch,
                longest_caption=options.longest_caption,
            )
        if gap is not None:
            append_log(self.folder, self.step_number, {"own_style": gap.own, "other_style": gap.other})
            logger.info(
                "%s captions held out: loss %.4f in their own style, %.4f in another",
                f"{gap.captions:,}", gap.own, gap.other,
            )  # fmt: skip

    def save(self, step: int) -> None:
        """Write last.pt on the main process, after this many steps."""
        if distributed.is_main_rank():
            state = {
                "kind": KIND,
                "step": step,
                "total_steps": self.total_steps,
                "trained": self.model.copy_trained(),
                "rows": asdict(self.rows),
                "options": plain_value(self.options),
                "precision": "float32" if self.captioner.model.dtype == torch.float32 else "bf16",
                "data_sha256": hash_file(self.data.path),
                "optimizer": describe_optimizer(self.optimizer),
            }
            write_checkpoint(self.folder / LAST, state)

    def read_former(self) -> dict[str, Any] | None:
        """What an earlier run left. Raises ConfigError where that run was another one."""
        path = self.folder / LAST
        if not path.exists():
            return None
        state = read_styles(path)
        options = plain_value(self.options)
        changed = [
            f"{name}={state['options'].get(name)}"
            for name in options
            if name not in OF_THE_MACHINE and state["options"].get(name) != options[name]
        ]
        if state["data_sha256"] != hash_file(self.data.path):
            changed.append("other instruction data")
        if changed:
            raise ConfigError(f"{path}: is of a run with {', '.join(changed)}; choose another folder")
        return state


def read_data(path: Path, options: TrainOptions) -> Data:
    """The instruction data. Raises DataError."""
    examples, styles = read_examples(path, options.styles)
    learned, held = hold_out(examples, options.held_out, options.seed)
    if not learned:
        raise DataError(f"{path}: all its images are held out; lower held_out={options.held_out}")
    return Data(path, learned, held, styles)


def load_styled(options: TrainOptions, styles: int) -> tuple[ChatCaptioner, StyleRows]:
    """The model that the options name, on the CPU, with rows of zeros for its styles."""
    dtype = choose_dtype(options.precision, choose_device(options.device))
    captioner = load_captioner(
        options.model,
        revision=options.revision,
        device="cpu",
        precision="bf16" if dtype == torch.bfloat16 else "float32",
        visual_tokens=(options.min_visual_tokens, options.max_visual_tokens),
    )
    rows = add_styles(captioner, styles, options.tokens)
    return cast(ChatCaptioner, captioner), rows


def wrap(model: StyledModel, device: torch.device) -> nn.Module:
    """The model as a step calls it: in DDP with several processes."""
    if distributed.world_size() == 1:
        return model
    ids = [device.index] if device.type == "cuda" else None
    # peft keeps the rows' first values as a buffer, which DDP would send around at every step.
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    settings: dict[str, Any] = {name: False, "gradient_as_bucket_view": True, "device_ids": ids}
    return DistributedDataParallel(model, **settings)
