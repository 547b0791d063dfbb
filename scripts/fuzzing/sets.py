"""Annotation files, packed sets and caches of a tiny drawn world."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from fuzzing.damage import damage, damage_text
from fuzzing.verdict import Kind, Verdict
from tpr.config.schema import Choice, DataOptions
from tpr.data.adapters import ADAPTERS
from tpr.data.images.reader import read_bytes
from tpr.data.samples.sample import Split
from tpr.data.tables.corpora import load_split
from tpr.data.tables.corpus import Corpus
from tpr.data.tables.pack import pack_set
from tpr.data.text.token_cache import corpus_tokens
from tpr.data.text.tokens import CLIP_TOKENIZER
from tpr.drawn import draw_world
from tpr.drawn.layouts import PLANNERS

SPLITS: tuple[Split, ...] = ("train", "test")
ANNOTATIONS = (".json", ".jsonl", ".txt", ".csv", ".npy", ".mat", ".parquet")
SMALL_SHARD = 20_000
TOKENS = 77


def draw_sets(folder: Path, names: Sequence[str]) -> Path:
    """The root of a drawn world with two test identities."""
    root = folder / "world"
    draw_world(root, sets=names, identities=2, workers=1)
    return root


def read_corpus(corpus: Corpus, *, images: bool) -> list[Any]:
    """Everything that a run reads of a corpus, as plain values."""
    rows = range(len(corpus))
    found: list[Any] = [
        (corpus.image_path(row), int(corpus.identity[row]), corpus.captions(row)) for row in rows
    ]
    return [*found, *(read_bytes(corpus, row) for row in rows)] if images else found


class Annotations(Kind):
    """An annotation file can be damaged into another one that is as good: only its form can be checked."""

    def __init__(self, folder: Path, names: Sequence[str] = ("all",)) -> None:
        super().__init__(folder)
        self.root = draw_sets(folder, names)
        self.files: list[tuple[str, Path]] = []
        for name in PLANNERS if "all" in names else names:
            place = ADAPTERS[name](ADAPTERS[name].Options()).folder(self.root)
            found = sorted(path for path in place.rglob("*") if path.suffix in ANNOTATIONS)
            self.files += [(name, path) for path in found if path.name != "truth.json"]
        self.before: dict[str, Any] = {}

    def attempt(self, random: Random) -> Verdict:
        """Parse a set with one damaged file."""
        name, path = random.choice(self.files)
        self.tried = f"{name}/{path.name}"
        original = path.read_bytes()
        if name not in self.before:
            self.before[name] = self._read(name)
        is_text = path.suffix not in (".npy", ".mat", ".parquet")
        path.write_bytes((damage_text if is_text else damage)(original, random))
        try:
            after = self._read(name)
        finally:
            path.write_bytes(original)
        return Verdict.SAME if after == self.before[name] else Verdict.OTHER

    def _read(self, name: str) -> list[Any]:
        data = DataOptions(root=self.root, cache=self.folder / "cache")
        shutil.rmtree(self.folder / "cache", ignore_errors=True)
        corpus = load_split(Choice(name, ADAPTERS[name].Options()), "train", data)
        return read_corpus(corpus, images=False)


class Stored(Kind):
    """Files that this program wrote: what differs from what was written must not be used without a word."""

    name = "rstpreid"

    def attempt(self, random: Random) -> Verdict:
        """Read a set whose stored files have one damage."""
        path = random.choice(self.stored)
        self.tried = path.name
        spoilt = damage(path.read_bytes(), random)
        path.unlink()  # somebody may still have the old file mapped
        path.write_bytes(spoilt)
        try:
            after = self.read()
        finally:
            self.restore()
        return Verdict.SAME if after == self.before else Verdict.SILENT

    def keep(self, stored: Path, data: DataOptions) -> None:
        """Remember what is read, and every stored file."""
        self.place, self.data = stored, data
        self.before = self.read()
        self.stored = sorted(path for path in stored.rglob("*") if path.is_file() and path.stat().st_size)
        shutil.copytree(stored, self.folder / "kept")

    def restore(self) -> None:
        """Every stored file as it was."""
        shutil.rmtree(self.place)
        shutil.copytree(self.folder / "kept", self.place)

    def read(self) -> list[Any]:
        """Both splits with images, and the tokens of the captions."""
        found: list[Any] = []
        for split in SPLITS:
            corpus = load_split(Choice(self.name, ADAPTERS[self.name].Options()), split, self.data)
            tokens = corpus_tokens(corpus, self.data, CLIP_TOKENIZER)
            found += read_corpus(corpus, images=True)
            found += tokens.rows(np.arange(corpus.caption_count), TOKENS).tolist()
        return found


class Shards(Stored):
    """Packed sets."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        root, data = draw_sets(folder, [self.name]), folder / "packed"
        choice = Choice(self.name, ADAPTERS[self.name].Options())
        packed = pack_set(choice, DataOptions(root=root, cache=folder / "first"), data, SMALL_SHARD)
        self.keep(packed.folder, DataOptions(root=data, cache=folder / "cache"))


class Caches(Stored):
    """Parsed annotations and tokens, which are made anew where they do not fit."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        root = draw_sets(folder, [self.name])
        self.keep(folder / "cache", DataOptions(root=root, cache=folder / "cache"))
