"""What a training step feeds: prompts as when captions are written, then the human's words as labels.

Prompts are padded on the left and captions on the right, so that all captions begin in the same column and
the model need score those columns alone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from tpr.captioning.engines.captioners import ChatCaptioner
from tpr.captioning.styles.examples import Example
from tpr.data.images.reader import load_image
from tpr.errors import DataError

IGNORED = -100


class StyledBatch(NamedTuple):
    """Inputs of the model, and what it should answer."""

    inputs: dict[str, Tensor]
    """input_ids and attention_mask (B, L), and what else the family needs."""
    labels: Tensor
    """(B, T) tokens of the last T columns; -100 behind a caption's end."""

    @property
    def label_count(self) -> int:
        """Tokens to learn."""
        return int((self.labels != IGNORED).sum())


def make_batch(
    captioner: ChatCaptioner, examples: Sequence[Example], root: Path, longest_caption: int
) -> StyledBatch:
    """Read the images and encode; longer captions are cut and have no end. Raises DataError."""
    images = [_open(root / example.image) for example in examples]
    inputs = captioner.prepare(
        images, [example.instruction for example in examples], [example.style for example in examples]
    )
    answers = [_encode(captioner, example.caption, longest_caption) for example in examples]
    longest = max(map(len, answers))
    labels = torch.full((len(answers), longest), IGNORED)
    for row, answer in zip(labels, answers, strict=True):
        row[: len(answer)] = torch.tensor(answer)
    is_word = labels != IGNORED
    filled = torch.where(is_word, labels, captioner.pad_token)
    shape = inputs["input_ids"].shape
    for name, value in inputs.items():
        if value.shape == shape:  # also the kinds of tokens that Qwen's positions need, zero for words
            tail = {"input_ids": filled, "attention_mask": is_word}.get(name, torch.zeros_like(labels))
            inputs[name] = torch.cat([value, tail.to(value.dtype)], dim=1)
    return StyledBatch(inputs, labels)


def _encode(captioner: ChatCaptioner, caption: str, longest: int) -> list[int]:
    tokenizer = captioner.processor.tokenizer
    end = tokenizer.eos_token_id
    ends = captioner.end_tokens
    words = tokenizer(caption, add_special_tokens=False).input_ids
    return [*words, end if end in ends else ends[0]][:longest]


def _open(path: Path) -> Image.Image:
    try:
        pixels = load_image(path)
    except DataError as error:
        raise DataError(f"{error}; `root` names the folder that the images' paths are below") from None
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
