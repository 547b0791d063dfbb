"""The folder of a training run: a log without doubled lines."""

import json
from pathlib import Path

from tpr import distributed
from tpr.whole_files import write_whole

LAST = "last.pt"
LOG = "log.jsonl"


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
