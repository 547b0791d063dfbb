"""Checkpoints that are whole or not there: written beside the target, synced, then renamed.

A checkpoint is a dictionary of tensors and plain values, read with `weights_only=True`. It holds model,
optimiser, position in the run, best score, the resolved config and versions. No random state is kept:
every random number is a function of (seed, epoch, step, sample), see `tpr.data.randomness`.
"""

import platform
from pathlib import Path
from typing import IO, Any

import torch

from tpr import __version__
from tpr.errors import CheckpointError, TrainingError
from tpr.models.weights import FORMAT, read_torch_file
from tpr.whole_files import open_whole


def describe_versions() -> dict[str, str]:
    """Versions that a run depends on."""
    return {"tpr": __version__, "torch": str(torch.__version__), "python": platform.python_version()}


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write atomically; on failure the old file stays and TrainingError names the reason."""
    witness: _Witness | None = None
    try:
        with open_whole(path) as file:
            witness = _Witness(file)
            torch.save({"format": FORMAT, "versions": describe_versions(), **state}, witness)  # type: ignore[arg-type]
    except (OSError, RuntimeError) as failure:
        # torch goes on after a failed write and fails again over its own position in the file.
        error = (witness and witness.first) or failure
        kept = "the one written before is kept" if path.exists() else "none was written before"
        raise TrainingError(
            f"{path}: the checkpoint could not be written ({_reason(error)}); {kept}"
        ) from error


def describe_kept(path: Path) -> str:
    """What is left of a run that fails."""
    return f"{path} is kept" if path.exists() else "nothing was saved yet"


def read_checkpoint_file(path: Path) -> dict[str, Any]:
    """A checkpoint of ours, tensors on the CPU. Raises CheckpointError in one line."""
    try:
        state = read_torch_file(path)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; else remove it or set runtime.resume=never") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: not a checkpoint of this framework, which `format: {FORMAT}` would mark"
        )
    return state


class _Witness:
    """A file for torch.save that remembers the first error of writing."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.first: OSError | None = None

    def write(self, data: Any) -> int:
        """Write, or remember why not."""
        try:
            return self.file.write(data)
        except OSError as error:
            self.first = self.first or error
            raise

    def flush(self) -> None:
        """As the file does."""
        self.file.flush()


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__
