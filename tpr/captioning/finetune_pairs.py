"""Images with captions of any dataset as what a BLIP captioner is trained on."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from tpr.captioning.colours import remove_colours
from tpr.captioning.listing import Infrared
from tpr.data.images.reader import decode, read_bytes
from tpr.data.samples.randomness import Purpose, hash_bits, stream_key
from tpr.data.tables.corpus import Corpus
from tpr.errors import ConfigError, DataError

IGNORED = -100
"""Label of a token that no loss is taken at."""


def choose_images(corpus: Corpus, infrared: Infrared) -> Corpus:
    """The captioned images of the cameras that are asked for. Raises UserError if there are none."""
    wanted = np.diff(corpus.caption_offsets) > 0
    if infrared != "any":
        is_infrared = corpus.table.column("infrared").to_numpy()
        wanted &= is_infrared if infrared == "only" else ~is_infrared
    if not wanted.any():
        raise ConfigError(
            f"'{corpus.name}': no image of split '{corpus.split}' has a caption where infrared={infrared}"
        )
    return corpus if wanted.all() else corpus.select(np.flatnonzero(wanted))


class CaptionPairs(Dataset[tuple[Image.Image, str]]):
    """One sample per caption: its image, whole, and its words."""

    def __init__(self, corpus: Corpus, *, removes_colours: bool) -> None:
        self.corpus = corpus
        self.removes_colours = removes_colours
        self.owners = corpus.caption_owners()

    def __len__(self) -> int:
        return len(self.owners)

    def __getitem__(self, number: int) -> tuple[Image.Image, str]:
        row = int(self.owners[number])
        caption = self.corpus.captions(row)[number - int(self.corpus.caption_offsets[row])]
        try:
            pixels = decode(read_bytes(self.corpus, row))
        except DataError as error:
            place = self.corpus.root / self.corpus.image_path(row)
            raise DataError(f"'{self.corpus.name}': {place} {error}; `tpr data check` lists all") from None
        image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
        return image, remove_colours(caption) if self.removes_colours else caption


def order_batches(samples: int, batch: int, *, seed: int, epochs: int, first: int) -> Iterator[list[int]]:
    """Batches of sample numbers from step `first` on, in an order that depends on seed and epoch alone.

    A last batch that is not full is left out, unless it is an epoch's only one.
    """
    per_epoch = steps_per_epoch(samples, batch)
    for epoch in range(first // per_epoch, epochs):
        key = stream_key(seed, epoch + 1, Purpose.SHUFFLE)
        bits = hash_bits(key, torch.arange(samples), 1)[:, 0]
        order = torch.argsort(bits, stable=True).tolist()
        for step in range(max(0, first - epoch * per_epoch), per_epoch):
            yield order[step * batch : (step + 1) * batch]


def steps_per_epoch(samples: int, batch: int) -> int:
    """Full batches of an epoch, at least one."""
    return max(1, samples // batch)


class Collate:
    """Images and words of a batch -> tensors of BLIP."""

    def __init__(self, processor: Any, start_token: int, longest: int) -> None:
        """start_token: begins every caption, as it does when the model writes. longest: in tokens."""
        self.processor, self.start_token, self.longest = processor, start_token, longest

    def __call__(self, samples: list[tuple[Image.Image, str]]) -> dict[str, Tensor]:
        """pixel_values (B, 3, H, W), input_ids, attention_mask and labels (B, L)."""
        images, captions = ([sample[side] for sample in samples] for side in (0, 1))
        pixels = self.processor.image_processor(images, return_tensors="pt")["pixel_values"]
        words = self.processor.tokenizer(
            captions, padding=True, truncation=True, max_length=self.longest, return_tensors="pt"
        )
        tokens, mask = words["input_ids"], words["attention_mask"]
        tokens[:, 0] = self.start_token
        return {
            "pixel_values": pixels,
            "input_ids": tokens,
            "attention_mask": mask,
            "labels": tokens.masked_fill(mask == 0, IGNORED),
        }
