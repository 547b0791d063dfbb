"""The folder of a training run: a log without doubled lines, and what was trained, to go on or to export."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import Tensor

from tpr import distributed
from tpr.captioning.styles.rows import StyleRows
from tpr.engine.checkpoint import read_checkpoint_file
from tpr.engine.resuming import find_gaps, refuse
from tpr.errors import CheckpointError, DataError
from tpr.whole_files import write_whole

LAST = "last.pt"
LOG = "log.jsonl"
KIND = "annotator styles"
ENTRIES = {
    "step": (int,), "total_steps": (int,), "trained": (dict,), "rows": (dict,), "options": (dict,),
    "precision": (str,), "data_sha256": (str,), "optimizer": (dict,),
}  # fmt: skip
"""What a last.pt holds besides its kind."""


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


def read_styles(path: Path) -> dict[str, Any]:
    """What training wrote. Raises CheckpointError where it is no such file."""
    state = read_checkpoint_file(path, way_out="remove it to train anew")
    if state.get("kind") != KIND:
        raise CheckpointError(f"{path}: holds no annotator styles; `tpr style train` writes them")
    problem = find_gaps(state, ENTRIES)
    if not problem and not all(isinstance(value, Tensor) for value in state["trained"].values()):
        problem = "trained: not all are tensors"
    rows = {field.name: int for field in fields(StyleRows)}
    if not problem and {name: type(value) for name, value in state["rows"].items()} != rows:
        problem = f"rows: expected whole numbers for {', '.join(rows)}"
    if problem:
        raise refuse(path, problem)
    return state
