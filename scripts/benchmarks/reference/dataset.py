"""The published training set and its collate: one Python tuple per pair, one dictionary per sample."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.reference.captions import build_tokenizer, mask_in_place, tokenize_caption
from benchmarks.reference.images import read_image, training_chain

Row = tuple[int, int, str, str]


class MaskedCaptionDataset(Dataset[dict[str, Any]]):
    """Pairs with masked captions. rows: (identity, image number, path, caption)."""

    def __init__(self, rows: Sequence[Row], size: tuple[int, int]) -> None:
        self.rows = rows
        self.chain = training_chain(size)
        self.tokenizer = build_tokenizer()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        identity, image_number, path, caption = self.rows[index]
        image = self.chain(read_image(path))
        caption_ids = tokenize_caption(caption, self.tokenizer)
        masked, labels = mask_in_place(caption_ids.numpy())
        return {
            "pids": identity,
            "image_ids": image_number,
            "images": image,
            "caption_ids": caption_ids,
            "mlm_ids": masked,
            "mlm_labels": labels,
        }


def collate(samples: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Integers become one tensor, tensors are stacked."""
    batch = {}
    for key in samples[0]:
        values = [sample[key] for sample in samples]
        batch[key] = torch.tensor(values) if isinstance(values[0], int) else torch.stack(values)
    return batch


def build_loader(rows: Sequence[Row], size: tuple[int, int], batch: int, workers: int) -> DataLoader[Any]:
    """Shuffled, no pinned memory. Differs: workers are kept, the published loader starts them each epoch."""
    return DataLoader(
        MaskedCaptionDataset(rows, size),
        batch,
        shuffle=True,
        num_workers=workers,
        collate_fn=collate,
        persistent_workers=workers > 0,
    )
