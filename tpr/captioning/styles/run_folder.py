"""The folder of a training run: a log without doubled lines."""

import json
from pathlib import Path

from tpr import distributed
from tpr.errors import DataError
from tpr.whole_files import write_whole

LAST = "last.pt"
LOG = "log.jsonl"


def cut_log(folder: Path, step: int) -> None:
    """Take the lines behind a step off the log: the run goes on from there. DataError if it is none."""
    path = folder / LOG
    if distributed.is_main_rank() and path.exists():
        try:
            lines = path.read_text(encoding="utf-8").split("\n")[:-1]
            kept = [f"{line}\n" for line in lines if json.loads(line)["step"] <= step]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise DataError(
                f"{path}: has a line that this program did not write; put the right file back, or move it "
                "away to begin another"
            ) from None
        write_whole(path, "".join(kept))


def append_log(folder: Path, step: int, values: dict[str, float]) -> None:
    """One line of the log, by the main process."""
    if distributed.is_main_rank():
        with (folder / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
