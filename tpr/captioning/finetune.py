"""A BLIP captioner trained on the captions of a dataset, once per kind of camera.

Source: TVI-LFM's captioners for visible and infrared images; it does not publish their training. This is
the usual recipe for BLIP: AdamW, a rate that falls in a straight line, no loss at padding, whole images.
"""

import hashlib
import json
import logging
import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch

from tpr.captioning.engines.captioners import BlipCaptioner
from tpr.captioning.engines.transformers_loading import choose_dtype, load_captioner, quiet
from tpr.captioning.finetune_pairs import (
    CaptionPairs,
    Collate,
    Tensors,
    choose_images,
    iterate_batches,
    order_batches,
    steps_per_epoch,
)
from tpr.captioning.listing import Infrared
from tpr.config.ranges import Count, NotNegative, Positive, Range, Seed
from tpr.data.samples.randomness import Purpose, stream_key
from tpr.data.tables.corpus import Corpus
from tpr.engine.checkpoint import read_checkpoint_file, write_checkpoint
from tpr.engine.resuming import describe_optimizer, find_gaps, refuse
from tpr.engine.small_loop import take_over, take_steps
from tpr.errors import ConfigError, TrainingError, UserError
from tpr.locks import hold_made_folder
from tpr.report.console import format_duration

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 10.0
LONGEST_GRADIENT = 1.0
"""Norm that gradients are cut to."""
RECORD = "finetune.json"
KINDS = {"key": (str,), "step": (int,), "loss": (float,), "model": (dict,), "optimizer": (dict,)}
"""What a state that a later start goes on from holds."""
MACHINE = ("device", "workers", "save_every_steps")
"""Settings that change nothing about the result."""


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions:
    """How a captioner is trained."""

    epochs: Count = 3
    """How often every caption is seen."""
    batch: Count = 32
    """Captions of a step."""
    lr: Positive = 5e-5
    """Learning rate at the start; it falls to zero linearly."""
    weight_decay: NotNegative = 0.05
    """AdamW's decay."""
    longest_caption: Annotated[int, Range(3, 4096)] = 64
    """Tokens after which a caption is cut."""
    infrared: Infrared = "any"
    """Images of which cameras: any, only infrared ones, never infrared ones."""
    colours: Literal["keep", "remove"] = "keep"
    """Whether names of colours are taken out of the captions, as for an infrared captioner."""
    seed: Seed = 0
    """Seed of the order and of dropout."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """Arithmetic; weights are float32. Auto is bf16 on a GPU that has it."""
    workers: Annotated[int, Range(0, 1024)] = 2
    """Processes that read images; 0: the training process reads them."""
    save_every_steps: Count = 500
    """Steps between two saved states, from which a later start continues."""


class Finetuning:
    """One training from a model folder to another, which can be stopped and gone on with."""

    def __init__(self, model: str, corpus: Corpus, out: Path, options: FinetuneOptions) -> None:
        """Raises UserError where the model is no BLIP captioner or the dataset has no fitting captions."""
        captioner = load_captioner(
            model, revision=None, device=options.device, precision="float32", visual_tokens=(1, 1)
        )
        if not isinstance(captioner, BlipCaptioner):
            raise UserError(f"finetune: model={model} is no BLIP, the one family that is trained here")
        self.model, self.processor = captioner.model, captioner.processor
        self.out, self.options = out, options
        self.corpus = choose_images(corpus, options.infrared)
        self.pairs = CaptionPairs(self.corpus, removes_colours=options.colours == "remove")
        self.total = options.epochs * steps_per_epoch(len(self.pairs), options.batch)
        self.work = out.with_name(f"{out.name}.training")
        self.state = self.work / "last.pt"
        self.step, self.loss = 0, 0.0
        settings = {name: value for name, value in asdict(options).items() if name not in MACHINE}
        self.about = {
            "model": model, "set": self.corpus.name, "split": self.corpus.split,
            "corpus": self.corpus.fingerprint, **settings,
        }  # fmt: skip
        self.key = hashlib.sha256(json.dumps(self.about).encode()).hexdigest()[:16]

    def run(self) -> None:
        """Train what is left and write the folder. Raises TrainingError where the loss is not finite."""
        options, parameters = self.options, self.model.parameters()
        with hold_made_folder(self.work):
            self.optimizer = torch.optim.AdamW(parameters, lr=options.lr, weight_decay=options.weight_decay)
            self._restore()
            logger.info(
                "%s: %s images, %s captions, %s steps", self.corpus.name, f"{len(self.corpus):,}",
                f"{len(self.pairs):,}", f"{self.total:,}",
            )  # fmt: skip
            self.first, self.started = self.step, time.monotonic()
            self.said = self.started
            self.model.train()
            take_steps(
                self._load(self.first),
                self._take,
                self._save,
                first=self.first,
                total=self.total,
                every=options.save_every_steps,
                state=self.state,
            )
            self._write()

    def _take(self, batch: Tensors) -> None:
        """One update; keeps the running mean of the loss and tells of it from time to time."""
        found = self._update(batch)
        self.loss = found if self.step == 0 else 0.98 * self.loss + 0.02 * found
        self.step += 1
        now = time.monotonic()
        if now - self.said >= SECONDS_BETWEEN_LINES or self.step == self.total:
            self.said = now
            left = format_duration((self.total - self.step) * (now - self.started) / (self.step - self.first))
            logger.info(
                "step %s of %s  loss %.4f  %s left", f"{self.step:,}", f"{self.total:,}", self.loss, left
            )

    def _load(self, first: int) -> Iterator[Tensors]:
        """Batches from a step on, on the device."""
        options = self.options
        batches = order_batches(
            len(self.pairs), options.batch, seed=options.seed, epochs=options.epochs, first=first
        )
        start = self.model.config.text_config.bos_token_id
        collate = Collate(self.processor, start, options.longest_caption)
        return iterate_batches(self.pairs, batches, collate, options.workers, self.model.device)

    def _update(self, batch: Tensors) -> float:
        """The loss before an update, whose randomness depends on seed and step alone."""
        torch.manual_seed(stream_key(self.options.seed, self.step, Purpose.DROPOUT))
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.lr * (1 - self.step / self.total)
        dtype = choose_dtype(self.options.precision, self.model.device)
        with torch.autocast(self.model.device.type, dtype, enabled=dtype == torch.bfloat16):
            loss = self.model(**batch).loss
        value = float(loss.detach())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), LONGEST_GRADIENT))
        if not math.isfinite(value) or not math.isfinite(norm):
            raise TrainingError(
                f"finetune: step {self.step + 1} has the loss {value} and a gradient of length {norm}; "
                f"lower lr={self.options.lr}, start again"
            )
        self.optimizer.step()
        return value

    def _save(self, step: int) -> None:
        state = {"key": self.key, "step": step, "loss": self.loss, "model": self.model.state_dict()}
        write_checkpoint(self.state, {**state, "optimizer": describe_optimizer(self.optimizer)})

    def _restore(self) -> None:
        """Go on from the state that is there, if there is one.

        Raises ConfigError if it is of another training, CheckpointError if it is damaged or no such state.
        """
        if not self.state.exists():
            return
        state = read_checkpoint_file(self.state, way_out="remove it to start this training anew")
        if problem := find_gaps(state, KINDS):
            raise refuse(self.state, problem)
        if state["key"] != self.key:
            raise ConfigError(
                f"{self.work}: holds a training with other settings, model or data; finish that one, or "
                "remove the folder, or choose another OUT"
            )
        if not math.isfinite(state["loss"]):
            raise refuse(self.state, f"its loss is {state['loss']}")
        own, stored = self.model.state_dict(), state["model"]
        self.step = take_over(self.state, state, stored, self.optimizer, own=own, total=self.total)
        self.model.load_state_dict(stored)
        self.loss = state["loss"]
        logger.info("going on after step %s", f"{self.step:,}")

    def _write(self) -> None:
        """The folder takes its name when everything is in it."""
        aside = self.work / "model"
        shutil.rmtree(aside, ignore_errors=True)
        with quiet():
            self.model.eval().save_pretrained(aside)
            self.processor.save_pretrained(aside)
        (aside / RECORD).write_text(
            json.dumps({**self.about, "steps": self.total, "loss": self.loss}, indent=1)
        )
        aside.rename(self.out)
        shutil.rmtree(self.work)
