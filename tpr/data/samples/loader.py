"""From an epoch's order to batches on the device.

Workers return whole batches of uint8 images; the main process sends them, and the device normalises and
erases. The order is made in the main process and handed out step by step, so a worker keeps nothing of
it, and a resumed epoch skips steps without decoding them. A batch is the same for any number of workers.
"""

import logging
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from tpr import distributed
from tpr.config.schema import DataOptions
from tpr.data.images.chains import ImageChain
from tpr.data.images.transforms import normalise_pixels, normalise_rest
from tpr.data.samples.batch import Batch
from tpr.data.samples.kinds import KINDS
from tpr.data.samples.samplers import SamplerName
from tpr.data.samples.sender import Sender
from tpr.data.samples.views import ImageReader, Samples, Views
from tpr.data.samples.workers import Task, Work, Workers
from tpr.data.tables.corpus import Corpus, IndexArray
from tpr.data.text.token_cache import corpus_tokens
from tpr.data.text.tokenizer import Tokenizer

logger = logging.getLogger(__name__)


class TrainLoader:
    """Batches of this rank, epoch by epoch."""

    def __init__(
        self,
        corpus: Corpus,
        data: DataOptions,
        views: Views,
        *,
        seed: int,
        workers: int,
        sampler: SamplerName,
        device: torch.device | str,
        rank: int | None = None,
        world: int | None = None,
        start: str = "auto",
    ) -> None:
        """Rank and world default to this process' place in the run; the rest is as configured.

        start: how worker processes start, as `runtime.start` says it.

        Raises ConfigError for a batch that the corpus cannot fill, DataError for a corpus without what
        `views` asks for.
        """
        kind = KINDS[views.kind]
        self.samples: Samples = kind.samples(corpus, data, views, seed=seed)
        self.sampler = self.samples.make_sampler(sampler)
        self.rank = distributed.rank() if rank is None else rank
        self.world = distributed.world_size() if world is None else world
        self.skipped = 0
        """Images of this rank that could not be read and were replaced by a neighbour."""
        self._transform = kind.transform(data.augment, seed=seed, chain=views.chain)
        self._chain = views.chain
        self._sender = Sender(torch.device(device))
        self._workers = Workers(partial(read_step, self.samples), workers, self._sender.device, start=start)

    def __len__(self) -> int:
        """Steps of an epoch."""
        return len(self.sampler)

    def epoch(self, number: int, first_step: int = 0) -> Iterator[Batch]:
        """The batches of epoch `number` (from 1) from step `first_step` (from 0) on, on the device."""
        return self._run(number, first_step, augment=True)

    def survey(self, number: int, *, augment: bool = True) -> Iterator[Batch]:
        """A pass over the training set next to the training of epoch `number`: its own order and draws.

        augment: as in training; otherwise images are resized only.
        """
        return self._run(-number, 0, augment=augment)

    def _run(self, number: int, first_step: int, *, augment: bool) -> Iterator[Batch]:
        steps = self.sampler.global_batches(number)[first_step:]
        for work in self._workers.run([self._make_task(step, number, augment) for step in steps]):
            for line in work.skipped:
                logger.warning("%s; a neighbour takes its place", line)
            self.skipped += len(work.skipped)
            batch = self._sender.send(work.entries)
            if "images" in batch and augment:
                self._transform.finish(batch, epoch=number)
            normalise_rest(batch, self._chain)
            yield batch

    def _make_task(self, step: IndexArray, epoch: int, augment: bool) -> Task:
        local = step[distributed.cut_share(len(step), self.rank, self.world)]
        return Task(self.samples.find_numbers(local), epoch, len(step), augment)


def read_step(samples: Samples, task: Task) -> Work:
    """One training step's entries, made in a worker."""
    entries, skipped = samples.read(task.samples, task.epoch, augment=task.augment)
    return Work(entries | {"global_size": task.global_size}, skipped)


def iterate_images(
    corpus: Corpus,
    data: DataOptions,
    *,
    batch: int,
    workers: int,
    device: torch.device | str,
    indices: IndexArray | None = None,
    chain: ImageChain,
    start: str = "auto",
) -> Iterator[Batch]:
    """Normalised images with `identity` and `image_index`, in the order of `indices` (absent: all rows).

    Raises DataError for an image that cannot be read, whatever `data.on_bad_image` says: leaving one out
    of a gallery would change the protocol.
    """
    rows = np.array(np.arange(len(corpus)) if indices is None else indices, dtype=np.int64)
    tasks = [Task(rows[start : start + batch]) for start in range(0, len(rows), batch)]
    sender = Sender(torch.device(device))
    count = min(workers, len(tasks)) if len(tasks) > 1 else 0
    pool = Workers(partial(read_rows, ImageReader(corpus, data, chain)), count, sender.device, start=start)
    try:
        for work in pool.run(tasks):
            sent = sender.send(work.entries)
            sent["images"] = normalise_pixels(sent["images"], chain)
            yield sent
    finally:
        pool.close()


def read_rows(images: ImageReader, task: Task) -> Work:
    """One evaluation batch's entries, made in a worker."""
    frames = images.allocate(len(task.samples))
    for frame, row in zip(frames, task.samples.tolist(), strict=True):
        frame.copy_(images.read(row))
    identity = images.corpus.identity[task.samples]
    return Work({"images": frames, "identity": identity, "image_index": task.samples})


def iterate_captions(
    corpus: Corpus,
    data: DataOptions,
    *,
    batch: int,
    device: torch.device | str,
    indices: IndexArray | None = None,
    tokenizer: Tokenizer,
) -> Iterator[Batch]:
    """Tokens with `text_identity`, `caption_index` and `owner` (the corpus row), in the order of `indices`.

    `indices` are running caption numbers, absent: all of them.
    """
    table = corpus_tokens(corpus, data, tokenizer)
    captions = np.array(np.arange(len(table)) if indices is None else indices, dtype=np.int64)
    sender = Sender(torch.device(device))
    for start in range(0, len(captions), batch):
        chosen = captions[start : start + batch]
        owner = np.searchsorted(corpus.caption_offsets, chosen, side="right") - 1
        yield sender.send(
            {
                "tokens": table.rows(chosen, data.text_length),
                "longest_caption": table.find_longest(chosen, data.text_length),
                "text_identity": corpus.identity[owner],
                "caption_index": chosen,
                "owner": owner,
            }
        )
