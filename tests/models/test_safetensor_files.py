"""Files of safetensors that we write carry a checksum, which is verified; those of others have none."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tpr.engine.checkpoint import write_safetensors
from tpr.errors import CheckpointError
from tpr.models import read_checkpoint
from tpr.models.safetensor_files import CHECKSUM

WHOLE = torch.arange(40.0)
STATE = {
    "a.weight": WHOLE,
    "tied": WHOLE,
    "turned": torch.arange(6.0).reshape(2, 3).T,
    "flag": torch.tensor(1),
}
ABOUT = {"config": {"name": "x", "seed": 1}, "setting": {"captions": 4}}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_safetensors(tmp_path / "best.safetensors", STATE, ABOUT)
    return tmp_path / "best.safetensors"


def test_what_was_written_comes_back_as_ours(written: Path) -> None:
    found = read_checkpoint(written)
    assert (found.kind, found.config, found.setting) == ("ours", ABOUT["config"], ABOUT["setting"])
    assert found.state.keys() == STATE.keys()
    assert all(torch.equal(found.state[name], value) for name, value in STATE.items())
    assert torch.equal(load_file(written)["a.weight"], WHOLE)


def test_any_changed_byte_of_values_or_metadata_is_found(written: Path) -> None:
    content = written.read_bytes()
    start = content.index(b"tpr")
    places = [len(content) - 1, len(content) - 70, start, content.index(b"seed"), content.index(b"xxh3") + 12]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1
        written.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="best.safetensors: truncated or damaged") as error:
            read_checkpoint(written)
        assert "\n" not in str(error.value)


def test_the_checksum_of_another_file_is_refused(written: Path, tmp_path: Path) -> None:
    with safe_open(written, framework="pt") as file:
        words = file.metadata()
    for changed in (words, {CHECKSUM: words[CHECKSUM]}):
        save_file({"a.weight": torch.zeros(40)}, tmp_path / "other.safetensors", changed)
        with pytest.raises(CheckpointError, match="truncated or damaged"):
            read_checkpoint(tmp_path / "other.safetensors")


def test_files_without_a_checksum_are_read(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "plain.safetensors", {"format": "pt"})
    found = read_checkpoint(tmp_path / "plain.safetensors")
    assert (found.kind, found.config, list(found.state)) == ("safetensors", None, ["a"])
