"""Finished shards as one stream of images with their captions, in the order of the plan.

Several plans of the same images (one per model) are walked side by side. Only one shard of each is in
memory at a time.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

from tpr.captioning.listing import ListedImage
from tpr.captioning.plan import CaptionPlan, check_listing
from tpr.captioning.shards import Marker, is_as_written, read_failures, read_markers, read_parts
from tpr.errors import ConfigError, DataError
from tpr.whole_files import open_whole

COLUMNS = ("file_path", "view", "caption")


class Written(NamedTuple):
    """One caption of an image."""

    plan: int
    """Number of the plan that it comes from."""
    view: str
    text: str


class Described(NamedTuple):
    """One image with its captions, in the order of plans and views."""

    entry: ListedImage
    captions: list[Written]


@dataclass(frozen=True)
class Merge:
    """Plans to merge, checked."""

    plans: Sequence[CaptionPlan]
    out: Path
    labels: tuple[str, ...] = ()
    """Names of models, for file names."""
    prefix: str = ""
    """Written before every image path."""
    view: str | None = None
    """The one view to take, where a format has room for one."""
    is_partial: bool = False
    """Merge what is done, though shards are missing."""
    markers: list[dict[int, Marker]] = field(default_factory=list)
    """Markers of each plan by shard."""

    def check(self) -> Self:
        """Read the markers. Raises UserError where a plan is not done or the plans do not fit together."""
        for plan in self.plans:
            check_listing(plan)
            if plan.images_sha256 != self.plans[0].images_sha256:
                raise DataError(f"{plan.folder}: has other images than {self.plans[0].folder}")
            markers = {marker.shard: marker for marker in read_markers(plan)}
            missing = plan.shards - len(markers)
            if missing and not self.is_partial:
                raise DataError(
                    f"{plan.folder}: {missing:,} of {plan.shards:,} shards are not done; `tpr caption run` "
                    "goes on, --partial merges what is there"
                )
            self.markers.append(markers)
        if len({plan.fingerprint for plan in self.plans}) < len(self.plans):
            raise ConfigError("merge: the same plan is named twice")
        return self

    def shard_is_done(self, number: int, shard: int) -> bool:
        """Whether a shard is done. Raises DataError if its files are not as written."""
        marker = self.markers[number].get(shard)
        if marker is None:
            return False
        if not is_as_written(self.plans[number], marker):
            raise DataError(
                f"{self.plans[number].folder}: the files of shard {shard:05d} are not as written; "
                "`tpr caption verify` tells more"
            )
        return True

    def images(self) -> Iterator[Described]:
        """Every image once, also those without captions."""
        for rows in zip(*(self._walk(number) for number in range(len(self.plans))), strict=True):
            yield Described(rows[0].entry, [caption for row in rows for caption in row.captions])

    def _walk(self, number: int) -> Iterator[Described]:
        plan = self.plans[number]
        for shard in range(plan.shards):
            rows = read_parts(plan, shard, COLUMNS) if self.shard_is_done(number, shard) else []
            place = 0
            for entry in plan.entries(shard):
                captions = []
                while place < len(rows) and rows[place]["file_path"] == entry.image:
                    captions.append(Written(number, rows[place]["view"], rows[place]["caption"]))
                    place += 1
                yield Described(entry, captions)
            if place < len(rows):
                raise DataError(
                    f"{plan.folder}: shard {shard:05d} names {rows[place]['file_path']} out of order"
                )

    def failures(self) -> Iterator[dict[str, Any]]:
        """Every failure with the plan that it comes from."""
        for number, plan in enumerate(self.plans):
            for shard in range(plan.shards):
                if self.shard_is_done(number, shard):
                    yield from ({"plan": plan.fingerprint, **row} for row in read_failures(plan, shard))


class ObjectWriter:
    """A JSON object written entry by entry, whole or not at all."""

    def __init__(self, stack: ExitStack, path: Path, indent: int | None = None) -> None:
        """stack: closes the file. indent: as json.dump's; absent: an entry a line."""
        self.count = 0
        self.indent = indent
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file: IO[bytes] = stack.enter_context(open_whole(path))
        self.file.write(b"{")
        stack.callback(self._finish)

    def add(self, key: str, value: Any) -> None:
        """One entry."""
        entry = json.dumps({key: value}, indent=self.indent)
        body = entry[1:-1].strip("\n")
        self.file.write((",\n" if self.count else "\n").encode() + body.encode())
        self.count += 1

    def _finish(self) -> None:
        self.file.write(b"\n}" if self.count else b"}")
