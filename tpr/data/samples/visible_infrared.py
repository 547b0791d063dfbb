"""Training samples of two kinds of images: a slot is a visible and an infrared image of one person.

Places count the visible images of a corpus, or the infrared ones, from 0. A slot's number is visible place
x infrared images + infrared place; as everywhere, every draw is a function of that number. In training
splits an image's first caption is its description and the second, if there is one, a rephrasing; evaluation
splits hold descriptions only.
"""

import numpy as np
from torch import Tensor

from tpr.config.augment import AugmentOptions
from tpr.config.schema import DataOptions
from tpr.data.images.operations import augment_images
from tpr.data.samples.randomness import Purpose, uniform_rows
from tpr.data.samples.samplers import CrossModalitySampler, Groups, SamplerName
from tpr.data.samples.views import Arrays, Samples, Views
from tpr.data.tables.columns import read_identity
from tpr.data.tables.corpus import Corpus, Flags, IndexArray
from tpr.data.text.token_cache import corpus_tokens
from tpr.errors import ConfigError, DataError

KINDS = ("visible", "infrared")


class CrossModalitySamples(Samples):
    """Slots; an image that cannot be read gives its place to another of the same person and kind."""

    def __init__(self, corpus: Corpus, data: DataOptions, views: Views, *, seed: int) -> None:
        """Raises DataError for a person without images of both kinds, or without captions that are read."""
        super().__init__(corpus, data, views, seed=seed)
        self.tokens = corpus_tokens(corpus, data, views.tokenizer) if views.tokens else None
        wanted = np.ones(len(corpus), dtype=np.bool_)
        if views.tokens:
            check_texts(corpus, data)
            wanted = np.diff(corpus.caption_offsets) > 0
        infrared = corpus.infrared()
        self._rows = (np.flatnonzero(wanted & ~infrared), np.flatnonzero(wanted & infrared))
        check_kinds(corpus, *self._rows)
        self._groups = tuple(Groups.of(corpus.identity[rows]) for rows in self._rows)

    def __len__(self) -> int:
        return len(self._rows[0]) * len(self._rows[1])

    def find_numbers(self, places: IndexArray) -> IndexArray:
        """Sample numbers are what the sampler gives."""
        return places

    def find_rows(self, samples: IndexArray) -> IndexArray:
        """Corpus row of each slot's visible image."""
        return self._rows[0][samples // len(self._rows[1])]

    def find_infrared_rows(self, samples: IndexArray) -> IndexArray:
        """Corpus row of each slot's infrared image."""
        return self._rows[1][samples % len(self._rows[1])]

    def make_sampler(self, kind: SamplerName) -> CrossModalitySampler:
        """The order of an epoch. Raises ConfigError for a batch that the corpus cannot fill."""
        if kind != "cross_modality":
            raise ConfigError(
                f"data.sampler={kind}: the system trains on pairs of a visible and an infrared image, "
                "which have a sampler of their own; leave data.sampler at system"
            )
        visible, infrared = (self.corpus.identity[rows] for rows in self._rows)
        size, name = self.data.images_per_identity, self.corpus.name
        return CrossModalitySampler(visible, infrared, self.data.batch, size, seed=self.seed, name=name)

    def describe(self, samples: IndexArray, epoch: int) -> Arrays:
        """Everything of a batch but its images and its global size."""
        rows, infrared_rows = self.find_rows(samples), self.find_infrared_rows(samples)
        identity = self.corpus.identity[rows]
        entries: Arrays = {
            "identity": identity,
            "sample_index": samples,
            "image_index": rows,
            "infrared_index": infrared_rows,
        }
        if self.tokens is not None:
            length, offsets, share = self.data.text_length, self.corpus.caption_offsets, self.data.rephrased
            coins = uniform_rows(self.seed, epoch, Purpose.REPHRASE, samples, 2)
            captions = choose_captions(offsets, rows, coins[:, 0] < share)
            infrared = choose_captions(offsets, infrared_rows, coins[:, 1] < share)
            entries["tokens"] = self.tokens.rows(captions, length)
            entries["longest_caption"] = self.tokens.find_longest(captions, length)
            entries["infrared_tokens"] = self.tokens.rows(infrared, length)
            entries["longest_infrared_caption"] = self.tokens.find_longest(infrared, length)
            entries["text_identity"] = identity
            entries["owner"] = np.arange(len(samples), dtype=np.int64)
            entries["caption_index"] = captions
        return entries

    def _read_images(
        self, samples: IndexArray, epoch: int, skipped: list[str], how: AugmentOptions
    ) -> Arrays:
        """The slots' images; a slot that must be changed is changed in `samples` as well."""
        found = [self._read_slot(samples, slot, skipped) for slot in range(len(samples))]
        entries: Arrays = {}
        for view, name in enumerate(("images", "second_images", "infrared_images")):
            frames, images = self.images.allocate(len(samples)), [slot[view // 2] for slot in found]
            augment_images(images, frames, how, samples, seed=self.seed, epoch=epoch, view=view)
            entries[name] = frames
        return entries

    def _read_slot(self, samples: IndexArray, slot: int, skipped: list[str]) -> list[Tensor]:
        """The visible and the infrared image of one slot."""
        images, places = [], []
        for rows, groups, start in zip(
            self._rows, self._groups, divmod(int(samples[slot]), len(self._rows[1])), strict=True
        ):
            image, place_read = self.images.read_or_replace(start, rows.item, groups.find_next, skipped)
            images.append(image)
            places.append(place_read)
        samples[slot] = places[0] * len(self._rows[1]) + places[1]
        return images


def choose_captions(offsets: IndexArray, rows: IndexArray, rephrased: Flags) -> IndexArray:
    """(B,) caption numbers: each image's description, or its rephrasing where it has one and is chosen."""
    first = offsets[rows]
    chosen: IndexArray = first + (rephrased & (offsets[rows + 1] - first > 1))
    return chosen


def check_texts(corpus: Corpus, data: DataOptions) -> None:
    """Raise where captions are read that are not there, or options do not suit two kinds of images."""
    if not corpus.caption_count:
        raise DataError(
            f"{corpus.name} has no captions to train on; fetch its folder Text, or train without text"
        )
    if data.rephrased and not (np.diff(corpus.caption_offsets) > 1).any():
        raise DataError(
            f"data.rephrased={data.rephrased}: no caption of {corpus.name} has a rephrasing; "
            "fetch the files with `llm` in their names, or set it to 0"
        )
    if data.noise.rate or data.noise.file is not None:
        raise ConfigError("data.noise moves captions between images of one kind; leave it off here")


def check_kinds(corpus: Corpus, visible: IndexArray, infrared: IndexArray) -> None:
    """Raise DataError unless every person has images of both kinds among these rows."""
    for kind, rows in zip(KINDS, (visible, infrared), strict=True):
        if not len(rows):
            raise DataError(f"{corpus.name} has no {kind} image to train on; it needs both kinds")
    published = read_identity(corpus.table)
    for kind, rows, other in (("infrared", infrared, visible), ("visible", visible, infrared)):
        lacking = np.setdiff1d(corpus.identity[other], corpus.identity[rows])
        if len(lacking):
            person = published[np.flatnonzero(corpus.identity == lacking[0])[0]]
            raise DataError(
                f"{corpus.name}: {len(lacking):,} of {corpus.identity_count:,} people have no {kind} "
                f"image to train on, the first is identity {person}; add some or leave the person out"
            )
