"""Noisy correspondence: training captions that change places, by a published index file or drawn.

An index is a permutation of the running caption numbers: slot i keeps its image and its identity and
takes the words of caption index[i]. The numbers run over images in the annotation's order and over each
image's captions in theirs, which is the order of the published files.
"""

from pathlib import Path

import numpy as np

from tpr.config.noise import NoiseOptions
from tpr.data.tables.array_files import map_array_file
from tpr.data.tables.corpus import Corpus, IndexArray
from tpr.errors import DataError


def find_noise(options: NoiseOptions, corpus: Corpus) -> IndexArray | None:
    """(captions,) caption whose words each slot takes; None where all keep their own."""
    if options.file is not None:
        return read_noise(options.file, corpus.caption_count, corpus.name)
    if options.rate == 0:
        return None
    return draw_noise(corpus.caption_count, options.rate, options.seed)


def draw_noise(captions: int, rate: float, seed: int) -> IndexArray:
    """(captions,) permutation in which int(rate x captions) drawn captions change places among themselves.

    Source: RDE, CVPR 2024, official `datasets/bases.py`, with numpy's old generator; a few of those drawn
    stay where they were, as published.
    """
    rng = np.random.RandomState(seed)
    order = np.arange(captions, dtype=np.int64)
    rng.shuffle(order)
    drawn = order[: int(rate * captions)]
    moved = drawn.copy()
    rng.shuffle(moved)
    index = np.arange(captions, dtype=np.int64)
    index[drawn] = moved
    return index


def read_noise(path: Path, captions: int, name: str) -> IndexArray:
    """A published index file for the corpus `name`. Raises DataError in one line; nothing pickled is read."""
    try:
        index = map_array_file(path)
    except DataError as error:
        raise DataError(f"data.noise.file: {error}") from None
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise _refuse(
            path, f"holds {index.dtype} of shape {list(index.shape)}, expected whole numbers in one row"
        )
    if len(index) != captions:
        raise _refuse(
            path,
            f"has {len(index):,} captions, but {name} trains on {captions:,}; take the file of this dataset",
        )
    if not np.array_equal(np.sort(index), np.arange(captions)):
        raise _refuse(path, f"is no permutation of 0..{captions - 1}")
    return index.astype(np.int64)


def _refuse(path: Path, problem: str) -> DataError:
    return DataError(f"data.noise.file: {path} {problem}")
