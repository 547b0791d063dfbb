"""Is my data as published: counts, images that are missing or broken, overlap of training and test.

Identical images are found by size first and by a hash of their bytes only where sizes agree; they are
looked for between all training splits and all test splits that are checked together.
"""

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from tpr.config.schema import Choice, DataOptions
from tpr.data.adapters import ADAPTERS, Counts
from tpr.data.images.packed import IMAGE
from tpr.data.images.reader import decode, measure_image, read_bytes
from tpr.data.samples.sample import SPLITS, Split
from tpr.data.tables.cache import CacheEntry, open_entry
from tpr.data.tables.columns import read_identity
from tpr.data.tables.corpora import build_adapter
from tpr.data.tables.corpus import Corpus, IndexArray
from tpr.errors import DataError

logger = logging.getLogger(__name__)

TOLERANCE = 0.01
"""Largest relative difference from a published figure that is not exact."""
MISSING_SIZE = -1
CHUNK = 256


@dataclass
class SplitReport:
    """What was found in one split; rows of the closing table."""

    name: str
    split: Split
    found: Counts
    published: Counts | None
    """None where nothing is published, as for a user's own data."""
    missing: list[str] = field(default_factory=list)
    """Images that are not on disk."""
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    """Images that cannot be decoded, with the reason."""
    shared_identities: list[int] = field(default_factory=list)
    """Identities that the dataset's training split holds too."""
    shared_images: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """Training dataset -> pairs (its image, the same image here)."""

    @property
    def is_broken(self) -> bool:
        """Whether training or evaluation on this split would fail or mislead."""
        leaked = self.shared_images.get(self.name)
        return bool(self.missing or self.unreadable or self.shared_identities or leaked)

    @property
    def differs(self) -> bool:
        """Whether the counts are not the published ones."""
        return self.published is not None and not counts_agree(self.found, self.published)

    @property
    def verdict(self) -> str:
        """One or two words for the table."""
        if self.is_broken:
            return "broken"
        if self.differs:
            return "counts differ"
        return "shared images" if self.shared_images else "ok"


@dataclass
class CheckReport:
    """Everything that `tpr data check` tells."""

    splits: list[SplitReport] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    """Set -> why it could not be read at all."""
    notes: list[str] = field(default_factory=list)
    """Published splits that were not found."""

    @property
    def is_broken(self) -> bool:
        """Whether something must be mended; counts that merely differ need not be."""
        return bool(self.failures) or any(split.is_broken for split in self.splits)


def counts_agree(found: Counts, published: Counts) -> bool:
    """Whether every published figure was found, within 1 % where it is not exact."""
    pairs = (
        (found.identities, published.identities),
        (found.images, published.images),
        (found.captions, published.captions),
    )
    slack = 0 if published.exact else TOLERANCE
    return all(known is None or abs((size or 0) - known) <= slack * known for size, known in pairs)


def choose_sets(root: Path, names: Sequence[str] = ()) -> list[Choice]:
    """The named datasets, or all whose folder exists below the root, with their default options.

    Raises DataError for an unknown name and where no dataset is found.
    """
    for name in names:
        if name not in ADAPTERS:
            raise DataError(f"--sets: '{name}' is not known; known: {', '.join(ADAPTERS)}")
    choices = [Choice(name, ADAPTERS[name].Options()) for name in names or ADAPTERS if _needs_nothing(name)]
    skipped = sorted(set(names) - {choice.name for choice in choices})
    if skipped:
        raise DataError(f"--sets: '{skipped[0]}' needs options; check it through a CONFIG that names it")
    if names:
        return choices
    found = [choice for choice in choices if build_adapter(choice).find_folder(root) is not None]
    if not found:
        folders = ", ".join(ADAPTERS[choice.name].folders[0] for choice in choices)
        raise DataError(f"no dataset found under data.root='{root}'; looked for the folders {folders}")
    return found


def _needs_nothing(name: str) -> bool:
    options = fields(ADAPTERS[name].Options)
    return all(option.default is not MISSING or option.default_factory is not MISSING for option in options)


def check_sets(choices: Iterable[Choice], data: DataOptions, *, decodes: bool = True) -> CheckReport:
    """Parse and check datasets together.

    decodes: False only looks for loose images; packed ones are compared with their checksums all the same.
    """
    report = CheckReport()
    corpora: list[tuple[Corpus, SplitReport]] = []
    for choice in choices:
        adapter = build_adapter(choice)
        try:
            entry = open_entry(adapter, data)
            opened = [entry.open(split) for split in entry.splits]
        except DataError as error:
            report.failures[adapter.label] = str(error)
            continue
        for corpus in opened:
            identities = corpus.identity_count if corpus.has_identities else None
            found = Counts(identities, len(corpus), corpus.caption_count)
            published = adapter.counts.get(corpus.split)
            corpora.append((corpus, SplitReport(adapter.label, corpus.split, found, published)))
        report.notes += _tell_repeats(entry)
        absent = [split for split in SPLITS if split in adapter.counts and split not in entry.splits]
        report.notes += [f"{adapter.label}: no {split} split found" for split in absent]
    sizes = [measure_images(corpus) for corpus, _ in corpora]
    for (corpus, split), size in zip(corpora, sizes, strict=True):
        split.missing = [corpus.image_path(int(row)) for row in np.flatnonzero(size == MISSING_SIZE)]
        if decodes or is_packed(corpus):
            most = data.max_image_pixels if decodes else None
            split.unreadable = find_unreadable(corpus, np.flatnonzero(size != MISSING_SIZE), most)
    _compare(corpora, sizes)
    report.splits = [split for _, split in corpora]
    return report


def _tell_repeats(entry: CacheEntry) -> list[str]:
    known = {split: entry.manifest.splits[split] for split in entry.splits}
    return [
        f"{entry.label} {split}: {files.rows:,} images, {files.captions:,} captions, {files.repeats:,} "
        "repeats (records that name an image again; their captions were joined to it)"
        for split, files in known.items()
        if files.repeats
    ]


def is_packed(corpus: Corpus) -> bool:
    """Whether the images lie in the corpus's own table."""
    return IMAGE.name in corpus.table.column_names


def measure_images(corpus: Corpus) -> IndexArray:
    """(N,) bytes of each image, -1 where it is missing."""
    if is_packed(corpus):
        lengths: IndexArray = pc.binary_length(corpus.table.column("picture")).to_numpy().astype(np.int64)
        return lengths
    sizes = np.full(len(corpus), MISSING_SIZE, dtype=np.int64)
    row = 0
    for chunk in corpus.table.column("image").chunks:
        for image in chunk.to_pylist():
            with contextlib.suppress(OSError, DataError):
                sizes[row] = measure_image(corpus.root, image)
            row += 1
    return sizes


def find_unreadable(corpus: Corpus, rows: IndexArray, max_pixels: int | None) -> list[tuple[str, str]]:
    """Images among these rows that cannot be decoded, with the reason; decoders run in threads.

    max_pixels: None reads and does not decode, which compares packed images with their checksums.
    """

    def read_all(part: IndexArray) -> list[tuple[str, str]]:
        return [
            (corpus.image_path(int(row)), why)
            for row in part
            if (why := _explain(corpus, int(row), max_pixels))
        ]

    parts = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [finding for found in pool.map(read_all, parts) for finding in found]


def _explain(corpus: Corpus, row: int, max_pixels: int | None) -> str:
    """Why an image cannot be read or decoded; empty if it can."""
    try:
        content = read_bytes(corpus, row)
        if max_pixels is not None:
            decode(content, max_pixels=max_pixels)
        return ""
    except DataError as error:
        return str(error)


def _compare(corpora: Sequence[tuple[Corpus, SplitReport]], sizes: Sequence[IndexArray]) -> None:
    """Fill in what test and validation splits share with training."""
    measured = [(corpus, split, size) for (corpus, split), size in zip(corpora, sizes, strict=True)]
    training = [part for part in measured if part[1].split == "train"]
    for corpus, split, size in measured:
        if split.split == "train":
            continue
        for other, other_split, other_size in training:
            if other_split.name == split.name and corpus.has_identities:
                shared = np.intersect1d(read_identity(corpus.table), read_identity(other.table))
                split.shared_identities = [int(identity) for identity in shared]
            pairs = find_identical(other, other_size, corpus, size)
            if pairs:
                split.shared_images[other_split.name] = pairs


def find_identical(
    first: Corpus, first_sizes: IndexArray, second: Corpus, second_sizes: IndexArray
) -> list[tuple[str, str]]:
    """Pairs of images with equal bytes, one of each corpus; empty and unreadable files are passed over."""
    common = np.intersect1d(first_sizes, second_sizes)
    common = common[common > 0]
    known = {
        _hash_image(first, int(row)): first.image_path(int(row))
        for row in np.flatnonzero(np.isin(first_sizes, common))
    }
    pairs = []
    for row in np.flatnonzero(np.isin(second_sizes, common)):
        found = _hash_image(second, int(row))
        twin = None if found is None else known.get(found)
        if twin is not None:
            pairs.append((twin, second.image_path(int(row))))
    return pairs


def _hash_image(corpus: Corpus, row: int) -> bytes | None:
    try:
        return hashlib.blake2b(read_bytes(corpus, row), digest_size=16).digest()
    except DataError:
        return None  # find_unreadable names it
