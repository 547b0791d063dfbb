"""The corpora of a run: joined training sets, validation splits, test sets."""

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from tpr.config.evaluation import EvaluationOptions
from tpr.config.schema import Choice, DataOptions
from tpr.data.adapters import ADAPTERS, Adapter
from tpr.data.samples.randomness import Purpose, hash_bits, stream_key
from tpr.data.samples.sample import Split
from tpr.data.tables.cache import CacheEntry, open_entry
from tpr.data.tables.columns import read_identity
from tpr.data.tables.corpus import Corpus, IndexArray, join, offsets_of
from tpr.errors import DataError

logger = logging.getLogger(__name__)

MOST_HELD_OUT = 1_000
"""Most identities that are held out for validation: as many as the benchmarks test with."""


@dataclass
class Corpora:
    """Everything a run reads; dictionaries go by the name of the dataset."""

    train: Corpus | None
    """All training sets as one; None where nothing is trained."""
    val: dict[str, Corpus] = field(default_factory=dict)
    """Validation splits, from the datasets or held out of training."""
    test: dict[str, Corpus] = field(default_factory=dict)
    """Test splits in the order of `data.test`."""


def build_adapter(choice: Choice) -> Adapter:
    """The adapter that a config's choice names, with its options."""
    return ADAPTERS[choice.name](choice.options)


def load_split(choice: Choice, split: Split, data: DataOptions) -> Corpus:
    """One split of one dataset through the cache. Raises DataError in one line."""
    adapter = build_adapter(choice)
    try:
        return open_corpus(open_entry(adapter, data), split, adapter)
    except DataError as error:
        raise DataError(f"'{adapter.label}': {error}") from None


def open_corpus(entry: CacheEntry, split: Split, adapter: Adapter) -> Corpus:
    """One split of an entry, without the images that are not on disk where the adapter's options say so."""
    corpus = entry.open(split)
    if adapter.leaves_missing_out and not entry.is_packed:
        return keep_present(corpus)
    return corpus


def keep_present(corpus: Corpus) -> Corpus:
    """The corpus without images that are not on disk. Raises DataError if none is."""
    folders: dict[str, set[str]] = {}
    found = np.zeros(len(corpus), dtype=bool)
    row = 0
    for chunk in corpus.table.column("image").chunks:
        for image in chunk.to_pylist():
            folder, _, name = image.rpartition("/")
            if folder not in folders:
                place = corpus.root / folder
                folders[folder] = {entry.name for entry in os.scandir(place)} if place.is_dir() else set()
            found[row] = name in folders[folder]
            row += 1
    if not found.any():
        raise DataError(f"none of {len(corpus):,} images is on disk, the first is {corpus.image_path(0)}")
    if found.all():
        return corpus
    logger.warning(
        "%s: %s of %s images are not on disk", corpus.name, f"{(~found).sum():,}", f"{len(found):,}"
    )
    return corpus.select(np.flatnonzero(found))


def load_corpora(data: DataOptions, evaluation: EvaluationOptions, seed: int) -> Corpora:
    """Training sets joined, with validation by `evaluation.select_on`, and all test sets.

    Raises DataError in one line that begins with the place in the config, such as data.train[0].
    """
    check_names("data.train", data.train)
    check_names("data.test", data.test)
    parts: list[Corpus] = []
    corpora = Corpora(train=None)
    for number, choice in enumerate(data.train):
        adapter = build_adapter(choice)
        try:
            entry = open_entry(adapter, data)
            corpus = open_corpus(entry, "train", adapter)
            if corpus.task.needs_captions:
                corpus = drop_uncaptioned(corpus)
            if evaluation.select_on == "val":
                corpus, held = split_validation(entry, corpus, adapter, evaluation.held_out, seed)
                corpora.val[corpus.name] = held
        except DataError as error:
            raise DataError(f"data.train[{number}] '{adapter.label}': {error}") from None
        parts.append(corpus)
    corpora.train = join(parts) if parts else None
    for number, choice in enumerate(data.test):
        try:
            corpus = load_split(choice, "test", data)
        except DataError as error:
            raise DataError(f"data.test[{number}] {error}") from None
        if corpus.task.needs_captions and not corpus.caption_count:
            raise DataError(f"data.test[{number}] '{corpus.name}': no image of the test split has a caption")
        corpora.test[corpus.name] = corpus
    return corpora


def check_names(where: str, choices: Iterable[Choice]) -> None:
    """Every dataset of a list needs its own name, since results go by it."""
    taken: dict[str, int] = {}
    for number, choice in enumerate(choices):
        label = build_adapter(choice).label
        if label in taken:
            raise DataError(
                f"{where}[{number}] '{label}': the name is taken by {where}[{taken[label]}]; "
                "name each dataset once (a jsonl dataset is named by its option `label`)"
            )
        taken[label] = number


def drop_uncaptioned(corpus: Corpus) -> Corpus:
    """The training corpus without images that have no caption. Raises DataError if none has."""
    lengths = np.diff(corpus.caption_offsets)
    rows = np.flatnonzero(lengths)
    if not len(rows):
        raise DataError("no image of the train split has a caption")
    if len(rows) == len(corpus):
        return corpus
    logger.info("%s: %s images without a caption are left out", corpus.name, f"{len(corpus) - len(rows):,}")
    return corpus.select(rows)


def split_validation(
    entry: CacheEntry, corpus: Corpus, adapter: Adapter, share: float, seed: int
) -> tuple[Corpus, Corpus]:
    """Training and validation corpus: the dataset's own validation split, else identities held out."""
    if "val" in entry.splits:
        own = open_corpus(entry, "val", adapter)
        if own.caption_count or not own.task.needs_captions:
            return corpus, own
    held = choose_held_out(corpus.identity_count, share, seed)[corpus.identity]
    rows = np.flatnonzero(held)
    validation = corpus.select(rows, split="val")
    if not validation.task.needs_captions:
        validation = keep_descriptions(validation)
    published = read_identity(validation.table)
    logger.info("%s: %s images held out for validation", corpus.name, f"{len(rows):,}")
    return corpus.select(np.flatnonzero(~held)), replace(validation, identity=published)


def keep_descriptions(corpus: Corpus) -> Corpus:
    """The corpus with the first caption of each image alone: the others rephrase it."""
    column = corpus.table.column("captions")
    first = pa.chunked_array([pc.list_slice(chunk, 0, 1).cast(column.type) for chunk in column.chunks])
    place = corpus.table.column_names.index("captions")
    return replace(
        corpus,
        table=corpus.table.set_column(place, "captions", first),
        caption_offsets=offsets_of(first),
        fingerprint=f"{corpus.fingerprint}[descriptions]",
        files=(),
        rows=None,
    )


def choose_held_out(identities: int, share: float, seed: int) -> "np.typing.NDArray[np.bool_]":
    """(identities,) True for those held out: at least one, at most a thousand, the same for the same seed."""
    if identities < 2:
        raise DataError(
            "has a single identity, none can be held out for validation; set evaluation.select_on to last"
        )
    count = min(max(1, round(share * identities)), MOST_HELD_OUT, identities - 1)
    bits = hash_bits(stream_key(seed, 0, Purpose.HELD_OUT), torch.arange(identities), 1)
    order: IndexArray = np.argsort(bits[:, 0].numpy(), kind="stable")
    held = np.zeros(identities, dtype=bool)
    held[order[:count]] = True
    return held
