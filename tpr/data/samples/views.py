"""What a training sample is, and its images, tokens and labels as arrays.

A sample is one caption with its image (`data.unit: pair`) or one image with some of its captions
(`image`). Its number is the running number of the caption, or the image's row; every draw is a function
of that number, so nothing here knows about workers, ranks or steps.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import torch
from torch import Tensor

from tpr.config.augment import AugmentOptions
from tpr.config.schema import DataOptions
from tpr.data.images.chains import CLIP_CHAIN, ImageChain
from tpr.data.images.operations import augment_images
from tpr.data.images.reader import decode, read_bytes
from tpr.data.samples.noise import find_noise
from tpr.data.samples.randomness import Purpose, uniform_rows
from tpr.data.samples.samplers import IdentitySampler, Sampler, SamplerName, ShuffledSampler
from tpr.data.tables.corpus import Corpus, IndexArray
from tpr.data.text.token_cache import corpus_tokens
from tpr.data.text.tokenizer import Tokenizer
from tpr.data.text.tokens import CLIP_TOKENIZER
from tpr.errors import ConfigError, DataError

Arrays = dict[str, npt.NDArray[np.int64] | Tensor | int]
"""Entries of a `Batch`, on the host."""

NOT_AUGMENTED = AugmentOptions(flip=0.0, pad=0, erase=0.0)
"""Images are resized and nothing else."""

NEIGHBOURS = 10
"""Unreadable images in a row after which a run stops even where they may be skipped."""


@dataclass(frozen=True)
class Views:
    """Which kind of sample a system is trained on, and which tensors it asks for."""

    kind: Literal["pair", "slot", "labelled"] = "pair"
    """Name in `tpr.data.samples.kinds`."""
    image: bool = True
    """`images`: the image."""
    tokens: bool = True
    """`tokens`: ids of the captions, with `text_identity`, `owner` and `caption_index`."""
    attributes: bool = False
    """`attributes`: the image's attribute labels."""
    plain: bool = False
    """`plain_images`: the image once more without augmentation."""
    sampler: SamplerName = "shuffled"
    """Order of the samples, where `data.sampler` leaves it to the system."""
    chain: ImageChain = CLIP_CHAIN
    """How images are resized and normalised."""
    tokenizer: Tokenizer = CLIP_TOKENIZER
    """What makes ids of captions."""


class ImageReader:
    """Rows of a corpus -> uint8 pixels at the network's size."""

    def __init__(self, corpus: Corpus, data: DataOptions, chain: ImageChain) -> None:
        self.corpus = corpus
        self.chain = chain
        self.size = data.image_size
        self.max_pixels = data.max_image_pixels
        self.on_bad_image = data.on_bad_image

    def read(self, row: int) -> Tensor:
        """(3, H, W) uint8. A failing image is tried once more; then DataError names dataset and file."""
        try:
            return self._read(row)
        except DataError:
            pass  # a network disk may have hiccuped
        try:
            return self._read(row)
        except DataError as error:
            path = self.corpus.root / self.corpus.image_path(row)
            raise DataError(f"{self.corpus.name}: {path} {error}") from None

    def read_or_replace(
        self, sample: int, find_row: Callable[[int], int], find_next: Callable[[int], int], skipped: list[str]
    ) -> tuple[Tensor, int]:
        """The image of a sample and the sample it came from, a later one where images must be replaced.

        skipped: gets a line for every image that cannot be read.
        """
        for _ in range(NEIGHBOURS):
            try:
                return self.read(find_row(sample)), sample
            except DataError as error:
                if self.on_bad_image == "stop":
                    raise DataError(f"{error}; mend or remove it, or set data.on_bad_image=skip") from None
                skipped.append(str(error))
                sample = find_next(sample)
        raise DataError(f"{skipped[-1]}; so are the {NEIGHBOURS - 1} images before it: mend the dataset")

    def _read(self, row: int) -> Tensor:
        pixels = decode(read_bytes(self.corpus, row), max_pixels=self.max_pixels)
        return self.chain.resize(pixels, self.size)

    def allocate(self, count: int) -> Tensor:
        """(count, 3, H, W) black frames.

        A pixel's three bytes lie side by side, as decoders write them: whole lines are copied at once.
        """
        return torch.zeros(count, *self.size, 3, dtype=torch.uint8).permute(0, 3, 1, 2)


class Samples(ABC):
    """The samples of a training corpus and what each becomes in an epoch."""

    def __init__(self, corpus: Corpus, data: DataOptions, views: Views, *, seed: int) -> None:
        self.corpus = corpus
        self.data = data
        self.views = views
        self.seed = seed
        self.images = ImageReader(corpus, data, views.chain)

    @abstractmethod
    def __len__(self) -> int:
        """Samples of the corpus."""

    @abstractmethod
    def make_sampler(self, kind: SamplerName) -> Sampler:
        """The sampler of this name over all samples; ConfigError if the corpus does not suit it."""

    @abstractmethod
    def find_numbers(self, places: IndexArray) -> IndexArray:
        """Sample numbers of places, by which samplers count."""

    def read(self, samples: IndexArray, epoch: int, *, augment: bool = True) -> tuple[Arrays, list[str]]:
        """A batch's entries, images as uint8, and a line for every image that was replaced.

        augment: images are moved as the options say; otherwise resized only.
        Raises DataError for an image that cannot be read, unless `data.on_bad_image` is skip.
        """
        entries: Arrays = {}
        skipped: list[str] = []
        if self.views.image:
            samples = samples.copy()
            how = self.data.augment if augment else NOT_AUGMENTED
            entries |= self._read_images(samples, epoch, skipped, how)
        return entries | self.describe(samples, epoch), skipped

    @abstractmethod
    def describe(self, samples: IndexArray, epoch: int) -> Arrays:
        """Everything of a batch but its images and its global size."""

    @abstractmethod
    def _read_images(
        self, samples: IndexArray, epoch: int, skipped: list[str], how: AugmentOptions
    ) -> Arrays:
        """The samples' images; a sample that must be changed is changed in `samples` as well."""


class TrainingSamples(Samples):
    """Captions with their images, or images with some of their captions."""

    def __init__(self, corpus: Corpus, data: DataOptions, views: Views, *, seed: int) -> None:
        super().__init__(corpus, data, views, seed=seed)
        self.unit = self.choose_unit()
        captioned = np.diff(corpus.caption_offsets) > 0
        needs_captions = views.tokens or self.unit == "pair"
        if needs_captions and not captioned.any():
            raise DataError(f"{corpus.name} has no captions to train on")
        self._rows = np.flatnonzero(captioned) if needs_captions and not captioned.all() else None
        self.tokens = corpus_tokens(corpus, data, views.tokenizer) if views.tokens else None
        self._noise = find_noise(data.noise, corpus) if views.tokens else None
        self._attributes = count_attributes(corpus) if views.attributes else 0

    def choose_unit(self) -> Literal["pair", "image"]:
        """What counts as a sample: a caption with its image, or an image."""
        return self.data.unit

    def __len__(self) -> int:
        if self.unit == "pair":
            return self.corpus.caption_count
        return len(self.corpus) if self._rows is None else len(self._rows)

    def find_numbers(self, places: IndexArray) -> IndexArray:
        """Sample numbers of places 0..len-1, by which samplers count."""
        if self.unit == "pair" or self._rows is None:
            return places
        return self._rows[places]

    def find_rows(self, samples: IndexArray) -> IndexArray:
        """Corpus row of each sample's image."""
        if self.unit == "image":
            return samples
        rows: IndexArray = np.searchsorted(self.corpus.caption_offsets, samples, side="right") - 1
        return rows

    def list_identities(self) -> IndexArray:
        """(len,) identity of every sample, for the identity sampler."""
        return self.corpus.identity[self.find_rows(self.find_numbers(np.arange(len(self), dtype=np.int64)))]

    def make_sampler(self, kind: SamplerName) -> Sampler:
        """Shuffled, or by identities."""
        data, corpus = self.data, self.corpus
        if kind == "shuffled":
            return ShuffledSampler(len(self), data.batch, seed=self.seed, name=corpus.name)
        if not corpus.has_identities:
            raise ConfigError(
                f"data.sampler=identity needs person labels; {corpus.name} has none, use shuffled"
            )
        size = data.images_per_identity
        return IdentitySampler(self.list_identities(), data.batch, size, seed=self.seed, name=corpus.name)

    def find_neighbour(self, sample: int) -> int:
        """The first sample of the next image that has one."""
        offsets = self.corpus.caption_offsets
        if self.unit == "pair":
            row = int(self.find_rows(np.array([sample]))[0])
            return int(offsets[row + 1]) % self.corpus.caption_count
        if self._rows is None:
            return (sample + 1) % len(self.corpus)
        return int(self._rows[np.searchsorted(self._rows, sample + 1) % len(self._rows)])

    def describe(self, samples: IndexArray, epoch: int) -> Arrays:
        """Everything of a batch but its images and its global size."""
        rows = self.find_rows(samples)
        identity = self.corpus.identity[rows]
        entries: Arrays = {"identity": identity, "sample_index": samples, "image_index": rows}
        if self.tokens is not None:
            captions, owner = self._choose_captions(samples, epoch)
            length = self.data.text_length
            words = captions if self._noise is None else self._noise[captions]
            entries["tokens"] = self.tokens.rows(words, length)
            entries["longest_caption"] = self.tokens.find_longest(words, length)
            entries["text_identity"] = identity[owner]
            entries["owner"] = owner
            entries["caption_index"] = captions
        if self.views.attributes:
            entries["attributes"] = self._read_attributes(rows)
        return entries

    def _read_images(
        self, samples: IndexArray, epoch: int, skipped: list[str], how: AugmentOptions
    ) -> Arrays:
        """The samples' images; a sample that must be replaced is replaced in `samples` as well."""
        images = [self._read_or_replace(samples, place, skipped) for place in range(len(samples))]
        frames = self.images.allocate(len(samples))
        augment_images(images, frames, how, samples, seed=self.seed, epoch=epoch)
        if not self.views.plain:
            return {"images": frames}
        plain = self.images.allocate(len(samples))
        for image, whole in zip(images, plain, strict=True):
            whole.copy_(image)
        return {"images": frames, "plain_images": plain}

    def _read_or_replace(self, samples: IndexArray, place: int, skipped: list[str]) -> Tensor:
        def find_row(sample: int) -> int:
            return int(self.find_rows(np.array([sample]))[0])

        sample = int(samples[place])
        image, samples[place] = self.images.read_or_replace(sample, find_row, self.find_neighbour, skipped)
        return image

    def _choose_captions(self, samples: IndexArray, epoch: int) -> tuple[IndexArray, IndexArray]:
        """Caption numbers, and the place in the batch of the image that each describes."""
        if self.unit == "pair":
            return samples, np.arange(len(samples))
        wanted = self.data.captions_per_image
        first = self.corpus.caption_offsets[samples]
        counts = self.corpus.caption_offsets[samples + 1] - first
        most = max(int(counts.max(initial=0)), wanted)
        drawn = uniform_rows(self.seed, epoch, Purpose.CAPTION, samples, most).copy()
        drawn[np.arange(most) >= counts[:, None]] = 2.0
        order = np.argsort(drawn, axis=1, kind="stable")
        # An image with fewer captions than wanted goes round them again.
        turn = np.arange(wanted) % counts[:, None]
        chosen = first[:, None] + np.take_along_axis(order, turn, axis=1)
        return chosen.reshape(-1), np.repeat(np.arange(len(samples)), wanted)

    def _read_attributes(self, rows: IndexArray) -> npt.NDArray[np.int64]:
        labels = np.full((len(rows), self._attributes), -1, dtype=np.int64)
        column = self.corpus.table.column("attributes")
        for label, row in zip(labels, rows.tolist(), strict=True):
            known = column[row].as_py() or []
            label[: len(known)] = known
        return labels


class LabelledSamples(TrainingSamples):
    """Images with identities or attributes; captions are not read, and no image needs one."""

    def __init__(self, corpus: Corpus, data: DataOptions, views: Views, *, seed: int) -> None:
        super().__init__(corpus, data, replace(views, tokens=False), seed=seed)

    def choose_unit(self) -> Literal["pair", "image"]:
        """An image."""
        return "image"


def count_attributes(corpus: Corpus) -> int:
    """Attribute labels per image; DataError where the dataset has none."""
    most = pc.max(pc.list_value_length(corpus.table.column("attributes"))).as_py()
    if not most:
        raise DataError(f"{corpus.name} has no attributes, which the system needs")
    return int(most)
