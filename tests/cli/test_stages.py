"""A config that names a run to train first: both run folders, what they share, and what goes wrong."""

from pathlib import Path

import pytest
import torch
import yaml

from tests.cli.conftest import TINY_CLIP
from tests.cli.screen import ROOT, Type
from tpr.drawn import draw_world

FIRST = """\
# First.
base: {recipe}
system: {{losses: {{sdm: 1, itc: 1, id: 0, mlm: 0}}}}
data: {{train: [cuhk_pedes], test: [cuhk_pedes]}}
optim: {{lr: 3e-3}}
"""
SECOND = "# Second.\nbase: first.yaml\ninit: {config: first.yaml}\noptim: {lr: 0}\n"


@pytest.fixture(scope="module")
def pedes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pedes")
    draw_world(root, sets=["cuhk_pedes"], identities=4, workers=1)
    return root


@pytest.fixture
def words(pedes: Path, tmp_path: Path) -> list[str]:
    """The second config and overrides that make two steps of it."""
    folder = tmp_path / "two"
    folder.mkdir()
    (folder / "first.yaml").write_text(FIRST.format(recipe=ROOT / "configs" / "drawn" / "pretrain.yaml"))
    (folder / "second.yaml").write_text(SECOND)
    return [
        str(folder / "second.yaml"),
        TINY_CLIP,
        f"data.root={pedes}",
        "data.batch=8",
        "runtime.workers=0",
        "runtime.max_steps=2",
        f"runtime.output={tmp_path / 'runs'}",
        "report.ranking_queries=0",
    ]


def read_config(folder: Path) -> dict:
    return yaml.safe_load((folder / "config.yaml").read_text())


def towers(path: Path) -> torch.Tensor:
    return torch.load(path, weights_only=True)["model"]["base_model.visual.conv1.weight"]


def test_the_first_run_is_trained_and_the_second_starts_from_its_best(
    words: list[str], type_command: Type, tmp_path: Path
) -> None:
    outcome = type_command("train", *words, "seed=5", "optim.eps=1e-5")
    assert outcome.code == 0, outcome.err
    first, second = (tmp_path / "runs" / f"two-{name}" for name in ("first", "second"))
    assert outcome.out.index(f"run folder:  {first}") < outcome.out.index(f"run folder:  {second}")
    assert read_config(second)["init"] == {
        "checkpoint": str(first / "best.pt"),
        "config": None,
        "minimum_share": 0.9,
    }
    # What is said of model and data holds for both, what is said of the optimiser for the second alone.
    one, two = read_config(first), read_config(second)
    assert one["seed"] == two["seed"] == 5 and one["data"] == two["data"] and one["model"] == two["model"]
    assert (one["optim"]["eps"], two["optim"]["eps"]) == (1e-8, 1e-5)
    # The second learns nothing at rate 0, so it still has the first one's weights.
    assert torch.equal(towers(first / "best.pt"), towers(second / "best.pt"))


@pytest.mark.slow
def test_a_first_run_that_is_there_is_not_trained_again(
    words: list[str], type_command: Type, tmp_path: Path
) -> None:
    assert type_command("train", words[0].replace("second", "first"), *words[1:]).code == 0
    written = (tmp_path / "runs" / "two-first" / "best.pt").stat().st_mtime_ns
    for _ in range(2):
        assert type_command("train", *words).code == 0
        assert {path.name for path in (tmp_path / "runs").iterdir()} == {"two-first", "two-second"}
    assert (tmp_path / "runs" / "two-first" / "best.pt").stat().st_mtime_ns == written


def test_a_checkpoint_that_is_named_makes_the_first_run_superfluous(
    words: list[str], type_command: Type, tmp_path: Path
) -> None:
    assert type_command("train", words[0].replace("second", "first"), *words[1:]).code == 0
    best = tmp_path / "runs" / "two-first" / "best.pt"
    moved = best.rename(tmp_path / "moved.pt")
    outcome = type_command("train", "--finetune", moved, *words)
    assert outcome.code == 0, outcome.err
    assert read_config(tmp_path / "runs" / "two-second")["init"]["checkpoint"] == str(moved)
    assert "two-first" not in outcome.out


@pytest.mark.slow
def test_every_seed_has_a_first_run_of_its_own(words: list[str], type_command: Type, tmp_path: Path) -> None:
    outcome = type_command("train", *words, "--seeds", "1,2")
    assert outcome.code == 0, outcome.err
    folders = {path.name: read_config(path) for path in (tmp_path / "runs").iterdir()}
    assert set(folders) == {"two-first", "two-first-2", "two-second-seed1", "two-second-seed2"}
    for name, first in (("two-second-seed1", "two-first"), ("two-second-seed2", "two-first-2")):
        assert folders[name]["seed"] == folders[first]["seed"]
        assert folders[name]["init"]["checkpoint"].endswith(f"{first}/best.pt")


def test_a_first_run_that_is_missing_or_wants_another_first_ends_in_one_line(
    words: list[str], type_command: Type
) -> None:
    second = Path(words[0])
    second.write_text(SECOND.replace("config: first", "config: frist"))
    assert "frist.yaml: no such config file" in type_command("train", *words).message
    second.write_text(SECOND.replace("config: first", "config: second"))
    message = type_command("train", *words).message
    assert "second.yaml: a run that is trained first must start by itself" in message
    assert message.endswith("train it and name its best.pt with init.checkpoint")
