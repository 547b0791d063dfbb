"""What a finished shard leaves: captions, failures, and a marker that is written last.

`parts/00042.parquet` has a row per accepted caption, `failures/00042.jsonl` a line per caption that failed,
`done/00042.json` counts, hashes and provenance. A shard without a marker is not done, whatever else is there.
Below `again/` lie the same folders for shards whose failures are asked for once more.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tpr.captioning.engines import CaptionRequest
from tpr.captioning.listing import ListedImage, hash_file
from tpr.captioning.plan import CaptionPlan
from tpr.errors import DataError
from tpr.locks import take_turns
from tpr.whole_files import open_whole, write_whole

WORD = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        ("file_path", pa.string()),
        ("identity", pa.int64()),
        ("view", WORD),
        ("caption", pa.string()),
        ("status", WORD),
        ("template", pa.int32()),
        ("style", pa.int32()),
        ("seed", pa.int64()),
        ("attempt", pa.int16()),
        ("instruction", WORD),
        ("engine", WORD),
        ("model", WORD),
        ("plan", WORD),
        ("shard", pa.int32()),
    ]
)
"""One row per caption; file_path, caption and status are what the adapter `ham_pedes` reads."""
ACCEPTED = "ok"
MARKER = re.compile(r"\d{5,}\.json")


@dataclass(frozen=True, kw_only=True)
class Caption:
    """One accepted caption."""

    request: CaptionRequest
    text: str
    entry: ListedImage


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One caption that failed for good."""

    file_path: str
    view: str
    reason: str
    attempts: int
    template: int | None
    seed: int
    text: str | None
    """The last text that was refused."""


@dataclass(frozen=True, kw_only=True)
class Marker:
    """What `done/` holds of a shard."""

    plan: str
    shard: int
    captions: int
    failed: int
    reasons: dict[str, int]
    retries: int
    seconds: float
    finished: float
    captions_sha256: str
    failures_sha256: str
    captions_bytes: int
    engine: dict[str, Any]

    @property
    def requests(self) -> int:
        """Requests that were answered, one way or the other."""
        return self.captions + self.failed


def parts_path(plan: CaptionPlan, shard: int) -> Path:
    """Accepted captions of a shard."""
    return plan.folder / "parts" / f"{shard:05d}.parquet"


def failures_path(plan: CaptionPlan, shard: int) -> Path:
    """Failures of a shard."""
    return plan.folder / "failures" / f"{shard:05d}.jsonl"


def marker_path(plan: CaptionPlan, shard: int) -> Path:
    """Marker of a finished shard."""
    return plan.folder / "done" / f"{shard:05d}.json"


def journal_path(plan: CaptionPlan, shard: int) -> Path:
    """Replies of a shard at work."""
    return plan.folder / "work" / f"{shard:05d}.jsonl"


@contextmanager
def hold_shard(plan: CaptionPlan, shard: int) -> Iterator[None]:
    """Wait until no other process is at this shard: one that a scheduler took for dead may still be."""
    lock = _lock_path(plan, shard)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with take_turns(lock):
        yield
        forget_work(plan, shard)


def forget_work(plan: CaptionPlan, shard: int) -> None:
    """Remove what a finished shard needs no more."""
    journal_path(plan, shard).unlink(missing_ok=True)
    _lock_path(plan, shard).unlink(missing_ok=True)


def _lock_path(plan: CaptionPlan, shard: int) -> Path:
    return journal_path(plan, shard).with_suffix(".lock")


def staged(plan: CaptionPlan) -> CaptionPlan:
    """The same plan with a folder of its own, for shards that are written aside while the old files count."""
    return replace(plan, folder=plan.folder / "again")


def adopt_staged(plan: CaptionPlan, shard: int) -> None:
    """Let a shard that was written aside take its place; without its marker there it is none.

    May be repeated after a kill at any point: the marker moves last.
    """
    aside = staged(plan)
    if not marker_path(aside, shard).exists():
        return
    for find_path in (parts_path, failures_path, marker_path):
        source = find_path(aside, shard)
        if source.exists():
            source.replace(find_path(plan, shard))
    forget_work(aside, shard)


def adopt_all_staged(plan: CaptionPlan) -> None:
    """Finish what a killed retry had begun to move."""
    for marker in read_markers(staged(plan)):
        adopt_staged(plan, marker.shard)


def write_parts(plan: CaptionPlan, shard: int, captions: Sequence[Caption], engine: dict[str, Any]) -> Path:
    """Write the accepted captions whole."""
    path = parts_path(plan, shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = {view.name: view.kind for view in plan.views}
    requests = [caption.request for caption in captions]
    total = len(captions)
    columns: dict[str, list[Any]] = {
        "file_path": [request.image for request in requests],
        "identity": [caption.entry.identity for caption in captions],
        "view": [request.view for request in requests],
        "caption": [caption.text for caption in captions],
        "status": [ACCEPTED] * total,
        "template": [request.template for request in requests],
        "style": [request.style for request in requests],
        "seed": [request.seed for request in requests],
        "attempt": [request.attempt for request in requests],
        "instruction": [plan.texts.instructions[kinds[request.view]] for request in requests],
        "engine": [plan.engine.name] * total,
        "model": [str(engine.get("model", plan.engine.name))] * total,
        "plan": [plan.fingerprint] * total,
        "shard": [shard] * total,
    }
    arrays = [to_array(columns[field.name], field.type) for field in SCHEMA]
    about = {"plan": plan.fingerprint, "engine": json.dumps(engine)}
    table = pa.Table.from_arrays(arrays, schema=SCHEMA).replace_schema_metadata(about)
    with open_whole(path) as file:
        pq.write_table(table, file, compression="zstd")
    return path


def to_array(values: list[Any], kind: pa.DataType) -> pa.Array:
    """A column; words that repeat are kept once."""
    if pa.types.is_dictionary(kind):
        return pa.array(values, pa.string()).dictionary_encode()
    return pa.array(values, kind)


def write_failures(plan: CaptionPlan, shard: int, failures: Sequence[Failure]) -> Path:
    """Write the failures whole; a file without lines where there are none."""
    path = failures_path(plan, shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(asdict(failure), ensure_ascii=False) for failure in failures]
    write_whole(path, "".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
    return path


def write_marker(plan: CaptionPlan, marker: Marker) -> None:
    """Declare a shard done."""
    path = marker_path(plan, marker.shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(asdict(marker), ensure_ascii=False) + "\n")


def read_marker(path: Path, plan: CaptionPlan) -> Marker | None:
    """A marker; None where it is damaged. Raises DataError where it belongs to another plan."""
    try:
        content = json.loads(path.read_bytes())
        marker = Marker(**{field.name: content[field.name] for field in fields(Marker)})
    except (ValueError, KeyError, TypeError):
        return None
    if marker.plan != plan.fingerprint:
        raise DataError(
            f"{path}: belongs to plan {marker.plan}, not to {plan.fingerprint}; remove {path.parent}"
        )
    return marker


def read_markers(plan: CaptionPlan) -> list[Marker]:
    """Markers of all finished shards, in order. One small file each: no caption is read."""
    folder = plan.folder / "done"
    if not folder.is_dir():
        return []
    # Not 00001 (copy).json, and nothing else that other programs leave.
    names = sorted(entry.name for entry in os.scandir(folder) if MARKER.fullmatch(entry.name))
    markers = (read_marker(folder / name, plan) for name in names)
    return [marker for marker in markers if marker is not None and marker.shard < plan.shards]


def is_whole(plan: CaptionPlan, marker: Marker) -> bool:
    """Whether the files of a finished shard are there in full length; `verify` looks into them."""
    parts, failures = parts_path(plan, marker.shard), failures_path(plan, marker.shard)
    return parts.is_file() and failures.is_file() and parts.stat().st_size == marker.captions_bytes


def read_parts(plan: CaptionPlan, shard: int, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Some columns of a shard's captions. Raises DataError if the file is not as written."""
    path = parts_path(plan, shard)
    try:
        rows: list[dict[str, Any]] = pq.read_table(path, columns=list(columns)).to_pylist()
        return rows
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise DataError(
            f"{path}: cannot be read ({' '.join(str(error).split())}); remove {marker_path(plan, shard)} and "
            "run the plan again"
        ) from None


def read_failures(plan: CaptionPlan, shard: int) -> Iterator[dict[str, Any]]:
    """Failures of a shard. Raises DataError if the file is not as written."""
    path = failures_path(plan, shard)
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); remove {marker_path(plan, shard)} and run the plan again"
        ) from None


def hash_shard(plan: CaptionPlan, shard: int) -> tuple[str, str]:
    """SHA-256 of a shard's captions and failures."""
    return hash_file(parts_path(plan, shard)), hash_file(failures_path(plan, shard))


def is_as_written(plan: CaptionPlan, marker: Marker) -> bool:
    """Whether the files of a finished shard are byte for byte those that its marker was written for."""
    wanted = (marker.captions_sha256, marker.failures_sha256)
    return is_whole(plan, marker) and hash_shard(plan, marker.shard) == wanted
