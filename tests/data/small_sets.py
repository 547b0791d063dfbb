"""Datasets of a few images in the published layouts, written by the tests that read them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tpr.config.schema import Choice, DataOptions
from tpr.data.adapters import ADAPTERS
from tpr.data.samples.sample import Split
from tpr.data.tables.corpora import load_split
from tpr.data.tables.corpus import Corpus


def write_json(path: Path, content: Any) -> Path:
    """A JSON file with the folders it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_image(path: Path, shade: int = 0) -> Path:
    """A small JPEG whose bytes depend on `shade`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 16), (shade % 256, 80, 160)).save(path)
    return path


def choose(name: str, **options: Any) -> Choice:
    """A dataset with options, as a config would name it."""
    return Choice(name, ADAPTERS[name].Options(**options))


def make_options(root: Path, **options: Any) -> DataOptions:
    """Options of reading below `root`, with a cache folder of their own beside it."""
    return DataOptions(root=root, cache=root.parent / f"{root.name}-cache", **options)


def load(root: Path, name: str, split: Split = "train", **options: Any) -> Corpus:
    """One split of one set below `root`."""
    return load_split(choose(name, **options), split, make_options(root))


def list_rows(corpus: Corpus) -> list[tuple[str, int, list[str]]]:
    """Image, identity and captions of every row."""
    return [
        (corpus.image_path(row), int(corpus.identity[row]), corpus.captions(row))
        for row in range(len(corpus))
    ]


def flip_bit(path: Path, random: np.random.Generator) -> None:
    """Change one bit anywhere in a file, in a new file of the same name: the old one may be mapped."""
    content = bytearray(path.read_bytes())
    content[random.integers(len(content))] ^= 1 << int(random.integers(8))
    path.unlink()
    path.write_bytes(content)


def cuhk_record(split: str | None, identity: int, image: str, *captions: str) -> dict[str, Any]:
    """A record of CUHK-PEDES or ICFG-PEDES; without split as in caption_all.json."""
    record = {"captions": list(captions), "file_path": image, "id": identity, "processed_tokens": [["a"]]}
    return record if split is None else {"split": split, **record}


def write_cuhk(root: Path, records: list[dict[str, Any]] | None = None, images: bool = True) -> Path:
    """CUHK-PEDES with two training persons, one for validation, one for test; returns the annotation."""
    records = records or [
        cuhk_record("train", 7, "cam_a/1.jpg", "a man", "he walks"),
        cuhk_record("train", 3, "Market/2.jpg", "a woman", "she runs"),
        cuhk_record("train", 7, "CUHK01/3.jpg", "the man again"),
        cuhk_record("val", 11, "cam_b/4.jpg", "a boy"),
        cuhk_record("test", 12, "test_query/5.jpg", "a girl", "in red"),
    ]
    (root / "CUHK-PEDES" / "imgs").mkdir(parents=True, exist_ok=True)
    if images:
        for number, record in enumerate(records):
            write_image(root / "CUHK-PEDES" / "imgs" / record["file_path"], shade=number)
    return write_json(root / "CUHK-PEDES" / "reid_raw.json", records)


def write_jsonl(path: Path, lines: list[dict[str, Any]]) -> Path:
    """A JSON Lines file with the folders it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path
