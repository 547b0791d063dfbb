"""The folder of a training run: one process group at a time, and a log without doubled lines."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tpr import distributed
from tpr.captioning.lock import hold_file
from tpr.whole_files import write_whole

LAST = "last.pt"
LOG = "log.jsonl"
LOCK = "run.lock"


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Keep other runs out; dies with the process. Raises DataError where one is at work."""
    if not distributed.is_speaker():
        yield
        return
    refusal = f"{folder}: is being trained in by another process; wait for it, or choose another folder"
    with hold_file(folder / LOCK, refusal):
        yield


def cut_log(folder: Path, step: int) -> None:
    """Take the lines behind a step off the log: the run goes on from there."""
    path = folder / LOG
    if distributed.is_main_rank() and path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        write_whole(path, "".join(kept))


def append_log(folder: Path, step: int, values: dict[str, float]) -> None:
    """One line of the log, by the main process."""
    if distributed.is_main_rank():
        with (folder / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
