"""What training styles leaves behind, as it is read again: to go on from, or to export."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import Tensor

from tpr.captioning.styles.rows import StyleRows
from tpr.engine.checkpoint import read_checkpoint_file
from tpr.engine.resuming import find_gaps, refuse
from tpr.errors import CheckpointError

KIND = "annotator styles"
ENTRIES = {
    "step": (int,), "total_steps": (int,), "trained": (dict,), "rows": (dict,), "options": (dict,),
    "precision": (str,), "data_sha256": (str,), "optimizer": (dict,),
}  # fmt: skip
"""What a last.pt holds besides its kind."""


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
