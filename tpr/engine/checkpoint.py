"""Checkpoints that are whole or not there: written next to the target, synced, then renamed.

A checkpoint is a dictionary of tensors and plain values, and nothing else is read from one. It holds model,
optimiser, position in the run, best score, the resolved config and versions. No random state is kept:
every random number is a function of (seed, epoch, step, sample), see `tpr.data.samples.randomness`.
"""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import Tensor

from tpr import __version__
from tpr.errors import CheckpointError, TrainingError, first_line
from tpr.models.safetensor_files import dump_safetensors
from tpr.models.weights import FORMAT, FORMAT_VERSION, is_ours, read_torch_file
from tpr.whole_files import open_whole, write_whole


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write atomically; on failure the old file stays and TrainingError names the reason."""
    writer: _Writer | None = None
    try:
        with open_whole(path) as file:
            writer = _Writer(file)
            torch.save(_mark() | state, cast(IO[bytes], writer))
    except (OSError, RuntimeError) as error:
        first = writer.first_error if writer is not None else None
        raise _unwritten(path, first or error) from error


class _Writer:
    """A file that remembers why it could not be written: torch tells what followed from it instead."""

    def __init__(self, file: IO[bytes]) -> None:
        self.first_error: OSError | None = None
        self._file = file

    def write(self, content: bytes) -> int:
        try:
            return self._file.write(content)
        except OSError as error:
            self.first_error = self.first_error or error
            raise

    def flush(self) -> None:
        self._file.flush()


def write_safetensors(path: Path, state: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write weights as safetensors with a checksum; about: plain values to add. Raises TrainingError.

    `tpr.models.read_checkpoint` reads it as a checkpoint of ours.
    """
    try:
        write_whole(path, dump_safetensors(state, _mark() | dict(about)))
    except OSError as error:
        raise _unwritten(path, error) from error


def _mark() -> dict[str, Any]:
    versions = {"tpr": __version__, "torch": str(torch.__version__), "python": platform.python_version()}
    return {"format": FORMAT, "format_version": FORMAT_VERSION, "versions": versions}


def _unwritten(path: Path, error: Exception) -> TrainingError:
    kept = "the one written before is kept" if path.exists() else "none was written before"
    return TrainingError(f"{path}: the checkpoint could not be written ({_reason(error)}); {kept}")


def describe_kept(path: Path) -> str:
    """What is left of a run that fails."""
    return f"{path} is kept" if path.exists() else "nothing was saved yet"


def read_checkpoint_file(
    path: Path, *, way_out: str = "remove it or set runtime.resume=never"
) -> dict[str, Any]:
    """A checkpoint of ours, tensors on the CPU. Raises CheckpointError in one line.

    way_out: what can be done where there is no sound copy of the file.
    """
    try:
        state: dict[str, Any] = read_torch_file(path)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; else {way_out}") from None
    if not is_ours(state):
        raise CheckpointError(
            f"{path}: not a checkpoint of this framework, which `format: {FORMAT}` would mark"
        )
    return state


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return first_line(error)
