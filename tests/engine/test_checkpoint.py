import errno
from contextlib import contextmanager

import pytest
import torch

from tpr.engine import checkpoint
from tpr.engine.checkpoint import read_checkpoint_file, write_checkpoint
from tpr.errors import CheckpointError, TrainingError


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    state = {"model": {"weight": torch.arange(3.0)}, "step": 7, "best": None, "config": {"seed": 1}}
    write_checkpoint(tmp_path / "last.pt", state)
    read = read_checkpoint_file(tmp_path / "last.pt")
    assert torch.equal(read["model"]["weight"], torch.arange(3.0))
    assert (read["step"], read["best"], read["config"]) == (7, None, {"seed": 1})
    assert read["versions"]["torch"] == torch.__version__


def test_a_full_disk_keeps_the_checkpoint_written_before(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    write_checkpoint(path, {"step": 1})

    def fill_disk(state, file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", fill_disk)
    with pytest.raises(TrainingError, match=r"last\.pt: .*No space left on device.*written before is kept"):
        write_checkpoint(path, {"step": 2})
    monkeypatch.undo()
    assert read_checkpoint_file(path)["step"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_a_truncated_last_checkpoint_is_one_line(tmp_path):
    path = tmp_path / "last.pt"
    write_checkpoint(path, {"model": {"weight": torch.zeros(1000)}})
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(CheckpointError, match=r"last\.pt: truncated or damaged .*; else remove it"):
        read_checkpoint_file(path)


def test_another_programs_file_is_named_as_such(tmp_path):
    torch.save({"model": {}}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint of this framework"):
        read_checkpoint_file(tmp_path / "last.pt")


class FullDisk:
    """A file of which the disk takes a few bytes."""

    def __init__(self, path):
        self.file, self.room = path.open("wb"), 3000

    def write(self, data):
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(data)

    def flush(self):
        self.file.flush()


def test_a_disk_that_fills_up_within_torchs_writing_is_the_reason_that_is_told(tmp_path, monkeypatch):
    @contextmanager
    def open_full(path):
        disk = FullDisk(tmp_path / "partial")
        with disk.file:
            yield disk

    monkeypatch.setattr(checkpoint, "open_whole", open_full)
    with pytest.raises(TrainingError, match="could not be written .No space left on device.; none was"):
        write_checkpoint(tmp_path / "last.pt", {"model": {"weight": torch.zeros(100_000)}})
