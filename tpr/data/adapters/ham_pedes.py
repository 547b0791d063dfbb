"""HAM-PEDES: one million images of SYNTH-PEDES captioned anew in the styles of many annotators.

Source: Jiang et al., Modeling Thousands of Human Annotators for Generalizable Text-to-Image Person
Re-identification, CVPR 2025.
Files in HAM-PEDES/, in one of three forms: an object {image path: [captions]}, a list of objects in
SYNTH-PEDES' form (id, file_path, captions), or shards (*.parquet, *.jsonl, also below parts/) with one row
per image (image or file_path, captions) or per caption (file_path, caption, perhaps status). Images
are SYNTH-PEDES' and lie in HAM-PEDES/ or SYNTH-PEDES/ (Part1/<id>/<n>.jpg). All of it is training data.

Captions are cleaned by the rule that they were made with: 8 to 130 words, no '<', '>', line break or '/n'.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from tpr.data.adapters.annotations import (
    Record,
    check_records,
    describe_whole,
    read_lines,
    read_number,
    read_with_pairs,
    refuse,
    show,
)
from tpr.data.adapters.base import Adapter, Counts, SubsetOptions, clean_text
from tpr.data.samples.sample import Sample, Split
from tpr.data.tables.walks import list_files, list_folders
from tpr.errors import DataError, first_line

WORDS = (8, 130)
BAD_MARKS = ("<", ">", "\n", "/n")
PLAN = "plan.json"
"""The captioner's own file next to its shards; it holds no captions."""


class HamPedes(Adapter):
    """HAM-PEDES in its three forms."""

    @dataclass(frozen=True, kw_only=True)
    class Options(SubsetOptions):
        """Options of HAM-PEDES."""

        identity: Literal["image", "folder"] = "image"
        """Each image is its own class, or the folder names the person of SYNTH-PEDES."""

    name = "ham_pedes"
    folders = ("HAM-PEDES", "HAM_PEDES")
    layout = "HAM-PEDES/{one *.json, *.parquet or *.jsonl} and HAM-PEDES/ or SYNTH-PEDES/{Part1 ... Part11}"
    counts = {"train": Counts(None, 1_000_000, 2_000_000)}

    def sources(self, root: Path) -> list[Path]:
        """The one JSON file, or all shards of one kind."""
        folder = self.folder(root)
        found = [path for path in list_files(folder, (".json",), self.leftovers) if path.name != PLAN]
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise DataError(f"{folder}: found several annotation files ({names}); keep the one to read")
        for suffix in (".parquet", ".jsonl"):
            places = (folder, folder / "parts")
            found = found or sorted(
                path for place in places for path in list_files(place, (suffix,), self.leftovers)
            )
        if not found:
            raise self.not_found(folder / "*.json", root)
        return found

    def describe_state(self, root: Path) -> list[str]:
        """The folders that hold parts."""
        folders = [
            folder
            for name in self.image_folders(root)
            for folder in list_folders(root / name, self.leftovers)
        ]
        return [str(folder) for folder in folders if folder.name.startswith("Part")]

    def parse(self, root: Path) -> Iterator[tuple[Split, Sample]]:
        """Images in the order of the files."""
        self.has_identities = self.options.identity == "folder"
        bases: dict[str, str] = {}
        dropped = empty = number = 0
        for record in merge_images(self.sources(root)):
            path, raw = record.image("file_path"), record.texts("captions")
            captions = tuple(clean_text(caption) for caption in raw if is_good(caption))
            dropped += len(raw) - len(captions)
            empty += not captions
            if captions:
                part = path.split("/", 1)[0]
                if part not in bases:
                    bases[part] = self.image_base(root, part)
                identity = folder_identity(record, path) if self.has_identities else number
                yield "train", Sample(f"{bases[part]}/{path}", identity, captions)
                number += 1
        if dropped:
            self.notes.append(
                f"{dropped:,} captions failed the dataset's own rule, {empty:,} images were left without"
            )

    def image_base(self, root: Path, part: str) -> str:
        """The folder below the root that holds this part."""
        names = self.image_folders(root)
        return next((name for name in names if (root / name / part).exists()), names[1])

    def image_folders(self, root: Path) -> list[str]:
        """Folders below the root that may hold parts."""
        return [self.folder(root).name, "SYNTH-PEDES", "SYNTH_PEDES"]


def is_good(caption: str) -> bool:
    """The rule that the dataset's captions were made with."""
    caption = caption.strip()
    return WORDS[0] <= len(caption.split()) <= WORDS[1] and not any(mark in caption for mark in BAD_MARKS)


def folder_identity(record: Record, path: str) -> int:
    """The number of the person's folder, Part1/<id>/<n>.jpg."""
    parts = path.split("/")
    number = read_number(parts[-2]) if len(parts) >= 3 else None
    if number is None:
        record.fail(
            f"identity: folder needs paths like Part1/7/1.jpg, found {show(path)}; use identity: image"
        )
    return number


def merge_images(paths: list[Path]) -> Iterator[Record]:
    """One record (file_path, captions) per image from any of the three forms."""
    merged: dict[str, Record] = {}
    for path in paths:
        for record in _read_whole(path) if path.suffix.lower() == ".json" else _read_shard(path):
            if record.values.get("status", "ok") == "ok":
                image, captions = record.image("file_path"), record.texts("captions")
                known = merged.setdefault(image, record)
                if known is record:
                    record.values["captions"] = list(captions)
                else:
                    known.values["captions"].extend(captions)
    yield from merged.values()


def _read_whole(path: Path) -> Iterator[Record]:
    content, pairs = read_with_pairs(path)
    if isinstance(content, list):
        yield from check_records(path, content, ("file_path", "captions"))
        return
    expected = "{image path: [captions]} or a list of objects with file_path, captions"
    if not isinstance(content, dict) or not content:
        raise refuse(path, f"found {describe_whole(content)}; expected {expected}")
    for number, (name, captions) in enumerate(pairs):
        yield Record(path, number, {"file_path": name, "captions": captions})


def _read_shard(path: Path) -> Iterator[Record]:
    if path.suffix.lower() == ".jsonl":
        records: Iterator[Record] = read_lines(path, ())
    else:
        records = (Record(path, number, row, kind="row") for number, row in enumerate(_read_rows(path)))
    for record in records:
        values = record.values
        for key, other in (("file_path", "image"), ("captions", "caption")):
            if key not in values and other in values:
                values[key] = values[other]
        if values.get("status", "ok") == "ok":
            record.require("file_path", "captions")
        yield record


def _read_rows(path: Path) -> Iterator[dict[str, Any]]:
    wanted = ("file_path", "image", "captions", "caption", "status")
    try:
        file = pq.ParquetFile(path)
        columns = [name for name in file.schema_arrow.names if name in wanted]
        for batch in file.iter_batches(columns=columns):
            yield from batch.to_pylist()
    except (OSError, pa.ArrowException, ValueError, OverflowError, MemoryError) as error:
        raise refuse(path, f"not a Parquet file that can be read ({first_line(error)})") from None
