"""TorchScript archives are read without running a line of them, and their weights are those torch finds."""

import ast
import re
import time
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.models.odd_archives import Looping, Writing, make_openai_archive, save_script
from tpr.errors import CheckpointError
from tpr.models import read_checkpoint

PACKAGE = Path(__file__).parents[2] / "tpr"


def load_by_torch(path: Path) -> dict[str, Tensor]:
    """What torch itself finds, which runs the archive."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(torch.jit.load(str(path)).state_dict())


def test_an_archive_that_writes_a_file_when_torch_loads_it_writes_none_here(tmp_path: Path) -> None:
    victim = tmp_path / "was_written"
    save_script(Writing(str(victim)), tmp_path / "writes.pt")
    victim.unlink(missing_ok=True)
    found = read_checkpoint(tmp_path / "writes.pt")
    assert found.state.keys() == {"body.weight", "body.bias"}
    assert not victim.exists()
    load_by_torch(tmp_path / "writes.pt")
    assert victim.exists(), "the archive does nothing, so this test shows nothing"


def test_an_archive_that_loops_is_read_at_once(tmp_path: Path) -> None:
    save_script(Looping(), tmp_path / "loops.pt")
    start = time.process_time()
    assert read_checkpoint(tmp_path / "loops.pt").state.keys() == {"body.weight", "body.bias"}
    assert time.process_time() - start < 10


def test_an_archive_that_keeps_its_weights_in_a_state_of_its_own_is_refused(tmp_path: Path) -> None:
    save_script(Writing(str(tmp_path / "victim")).hook, tmp_path / "hook.pt")
    with pytest.raises(
        CheckpointError, match=r"hook.pt: refused: it holds pickled code \(__torch__"
    ) as error:
        read_checkpoint(tmp_path / "hook.pt")
    assert "torch.save(model.state_dict()" in str(error.value) and "\n" not in str(error.value)


def test_the_layout_of_openai_gives_the_names_and_values_that_torch_finds(tmp_path: Path) -> None:
    make_openai_archive(tmp_path / "clip.pt")
    found, wanted = read_checkpoint(tmp_path / "clip.pt"), load_by_torch(tmp_path / "clip.pt")
    assert found.kind == "torchscript"
    assert found.state.keys() == wanted.keys()
    assert {"visual.conv1.weight", "transformer.resblocks.0.attn.in_proj_weight"} < wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(found.state[name], value) and found.state[name].dtype == value.dtype, name
    assert found.state["visual.conv1.weight"].dtype == torch.float16
    assert [int(found.state[name]) for name in ("input_resolution", "context_length", "vocab_size")] == [
        32, 8, 50,
    ]  # fmt: skip


def test_traced_modules_and_shared_weights_are_read(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3)).eval()
    module[2].weight = module[0].weight
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(module, torch.zeros(2, 3)).save(str(tmp_path / "traced.pt"))
    found = read_checkpoint(tmp_path / "traced.pt").state
    for name, value in module.state_dict().items():
        assert torch.equal(found[name], value), name


@pytest.mark.slow
def test_nothing_here_can_run_an_archive_or_a_pickle() -> None:
    runs = re.compile(r"^(torch\.(load|jit\b.*)|torch\.serialization\b.*|_?pickle\..*)$")
    for path in PACKAGE.rglob("*.py"):
        tree = list(ast.walk(ast.parse(path.read_text())))
        names = [ast.unparse(node) for node in tree if isinstance(node, ast.Attribute)]
        names += [f"{node.module}.{part.name}" for node in tree if isinstance(node, ast.ImportFrom)
                  for part in node.names]  # fmt: skip
        assert [name for name in names if runs.match(name)] == [], path
