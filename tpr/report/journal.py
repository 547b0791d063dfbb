"""The journal of a run: one JSON line per event in journal.jsonl, the same numbers as TensorBoard curves.

The journal follows the weights: a start drops the lines beyond the step that it goes on from, all of them
where nothing was saved, and does not repeat those at it. So the journal of a run that was killed equals that
of an uninterrupted one, times aside.
"""

import errno
import json
import math
import os
import time
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tpr import distributed
from tpr.errors import DataError, TrainingError
from tpr.evaluation.rows import Results
from tpr.report.board import Board
from tpr.whole_files import write_whole

JOURNAL_FILE = "journal.jsonl"
EVENT_FILES = "events.out.tfevents.*"
"""Names of TensorBoard's files."""


class Journal:
    """Writes on the main rank only; on others every method does nothing.

    Raises TrainingError in one line where the folder is full or cannot be written.
    """

    def __init__(self, folder: Path, *, tensorboard: bool = True) -> None:
        self.path = folder / JOURNAL_FILE
        self.with_board = tensorboard
        self.is_writing = distributed.is_main_rank()
        self.current_step = 0
        self.resumed_step: int | None = None
        self.known: set[tuple[int, str, str]] = set()
        self.file: FileIO | None = None
        self.board: Board | None = None
        if self.is_writing:
            self._guard(self._open)

    def resume(self, step: int) -> None:
        """Forget everything beyond `step`, where the run continues; 0: it is new.

        Raises DataError for a journal that cannot be read.
        """
        self.current_step = step
        if self.is_writing:
            self._guard(self._rewind, step)

    def step(
        self,
        step: int,
        epoch: int,
        losses: Mapping[str, float],
        metrics: Mapping[str, float],
        *,
        lr: float,
        pairs_per_second: float,
    ) -> None:
        """Means of losses and metrics since the last such line, the rate and the speed."""
        self.current_step = step
        fields = {"epoch": epoch, "losses": dict(losses), "metrics": dict(metrics)}
        curves = {f"loss/{name}": value for name, value in losses.items()}
        curves |= {f"train/{name}": value for name, value in metrics.items()}
        curves |= {"lr": lr, "pairs_per_second": pairs_per_second}
        self._write("step", "", fields | {"lr": lr, "pairs_per_second": pairs_per_second}, curves)

    def evaluation(self, step: int, epoch: int, split: str, results: Results) -> None:
        """Every row of an evaluation of one split, with its means."""
        self.current_step = step
        curves: dict[str, float] = {}
        for row in (*results.rows, *results.list_means()):
            curves |= {f"{split}/{row.curve}/{name}": value for name, value in row.measures.items()}
        self._write("evaluation", split, {"epoch": epoch, "split": split} | results.to_json(), curves)

    def event(self, kind: str, **fields: Any) -> None:
        """Anything else worth keeping, at the current step: a checkpoint, a note."""
        self._write(kind, json.dumps(replace_odd_numbers(fields), sort_keys=True, default=str), fields, {})

    def image(self, name: str, pixels: npt.NDArray[np.uint8], step: int) -> None:
        """Show an image, (H, W, 3) uint8, in TensorBoard."""
        if self.is_writing and self.with_board:
            self._guard(lambda: self._get_board().add_image(name, pixels, step))

    def flush(self) -> None:
        """Put the curves on disk; lines are there as soon as they are written."""
        if self.board is not None:
            self._guard(self.board.flush)

    def close(self) -> None:
        """End the journal; a second call does nothing."""
        file, board, self.file, self.board = self.file, self.board, None, None
        try:
            if file is not None:
                self._guard(file.close)
        finally:
            if board is not None:
                self._guard(board.close)

    def _write(self, kind: str, detail: str, fields: Mapping[str, Any], curves: Mapping[str, float]) -> None:
        if not self.is_writing or (self.current_step, kind, detail) in self.known:
            return
        line = {"kind": kind, "step": self.current_step, "time": round(time.time(), 3), **fields}
        self._guard(self._append, json.dumps(replace_odd_numbers(line), default=str, allow_nan=False), curves)

    def _append(self, line: str, curves: Mapping[str, float]) -> None:
        if self.file is None:
            self._open()
        assert self.file is not None
        data = f"{line}\n".encode()
        # Not buffered: what a full disk refused must not turn up again when the file is closed.
        if self.file.write(data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if curves and self.with_board:
            self._get_board().add_scalars(curves, self.current_step)

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = self.path.open("ab", buffering=0)

    def _get_board(self) -> Board:
        if self.board is None:
            self.board = Board(self.path.parent, after_step=self.resumed_step)
        return self.board

    def _rewind(self, step: int) -> None:
        kept = [event for event in read_journal(self.path) if event["step"] <= step]
        if step or any(self.path.parent.glob(EVENT_FILES)):
            self.resumed_step = step
        if self.file is not None:
            self.file.close()
        write_whole(self.path, "".join(json.dumps(event) + "\n" for event in kept))
        self.known = {(step, *name_event(event)) for event in kept if event["step"] == step}
        self.file = self.path.open("ab", buffering=0)

    def _guard(self, action: Any, *values: Any) -> None:
        try:
            action(*values)
        except OSError as error:
            raise TrainingError(
                f"{self.path}: the journal cannot be written ({error.strerror or error}); free or unlock "
                "the folder, or choose another with runtime.output=FOLDER"
            ) from error


def read_journal(path: Path) -> list[dict[str, Any]]:
    """All events in order; a last line that a killed run left unfinished is dropped.

    Raises DataError for a line that is no event, and OSError.
    """
    if not path.exists():
        return []
    events = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        event = _read_event(line)
        if event is not None:
            events.append(event)
        elif number < len(lines):
            raise DataError(
                f"{path}:{number}: not a line of a journal, which names kind and step of an event; put the "
                "file back, or remove it to go on without what it tells"
            )
    return events


def _read_event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("kind"), str):
        return None
    return event if type(event.get("step")) is int else None


def name_event(event: Mapping[str, Any]) -> tuple[str, str]:
    """What makes two events at the same step the same one."""
    kind = str(event["kind"])
    if kind in ("step", "evaluation"):
        return kind, str(event.get("split", ""))
    fields = {name: value for name, value in event.items() if name not in ("kind", "step", "time")}
    return kind, json.dumps(fields, sort_keys=True)


def replace_odd_numbers(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become the words "nan", "inf" and "-inf"."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): replace_odd_numbers(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [replace_odd_numbers(item) for item in value]
    return value
