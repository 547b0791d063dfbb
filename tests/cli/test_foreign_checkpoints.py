"""A checkpoint from anyone: it decides no place that is written to, and a damaged one is one line."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import tpr
from tests.cli.screen import ROOT, Type, read_table
from tests.models.odd_archives import Looping, save_script
from tests.systems.small_systems import SETTING, make_irra
from tests.systems.test_loading import make_experiment
from tpr.config.typed import to_tree
from tpr.errors import CheckpointError
from tpr.models import read_checkpoint


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder that nobody names but the checkpoint."""
    return tmp_path / "elsewhere"


@pytest.fixture
def foreign(world: Path, elsewhere: Path, tmp_path: Path) -> Path:
    """A checkpoint of another machine, which names places and a device of its own."""
    tree = to_tree(make_experiment())
    tree["report"] |= {"finetune": "drawn/finetune"}
    tree["data"] |= {"root": str(world), "cache": str(elsewhere / "cache"), "test": ["cuhk_pedes"]}
    tree["data"]["noise"] |= {"file": str(elsewhere / "noise.npy")}
    tree["runtime"] |= {"output": str(elsewhere / "runs"), "device": "cuda", "timeout_seconds": 1}
    tree["runtime"] |= {"precision": "bf16"}
    tree["init"] |= {"checkpoint": str(elsewhere / "start.pt"), "config": str(elsewhere / "first.yaml")}
    content = {"format": "tpr", "model": make_irra().state_dict(), "config": tree, "setting": asdict(SETTING)}
    torch.save(content, tmp_path / "best.pt")
    return tmp_path / "best.pt"


def test_evaluating_reads_the_stored_data_folder_and_writes_to_our_own_cache(
    foreign: Path, elsewhere: Path, session_cache: Path, type_command: Type
) -> None:
    outcome = type_command("evaluate", foreign, "runtime.workers=0", "runtime.device=cpu")
    assert outcome.code == 0, outcome.err
    assert "cuhk_pedes" in read_table(outcome.out)
    assert not elsewhere.exists()
    assert any(session_cache.rglob("*.*"))


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_converting_leaves_places_and_machine_behind_and_keeps_the_numbers(
    ending: str, foreign: Path, elsewhere: Path, type_command: Type, tmp_path: Path
) -> None:
    target = tmp_path / f"own.{ending}"
    outcome = type_command("convert", foreign, "--out", target)
    assert outcome.code == 0, outcome.err
    assert not elsewhere.exists()
    stored = read_checkpoint(target)
    assert stored.kind == "ours" and str(elsewhere) not in yaml.safe_dump(stored.config)
    assert stored.config is not None
    runtime: dict[str, Any] = stored.config["runtime"]
    assert (runtime["device"], runtime["precision"]) == ("auto", "bf16")
    texts = ["a man in a red shirt"]
    assert torch.equal(
        tpr.load_system(target).encode_texts(texts), tpr.load_system(foreign).encode_texts(texts)
    )


def test_fine_tuning_writes_where_the_user_says(
    foreign: Path, elsewhere: Path, type_command: Type, tmp_path: Path
) -> None:
    outcome = type_command(
        "train", "--finetune", foreign, "data.batch=8", "runtime.workers=0", "runtime.max_steps=1",
        f"runtime.output={tmp_path / 'runs'}", "report.ranking_queries=0",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    (folder,) = (tmp_path / "runs").iterdir()
    assert str(elsewhere) not in (folder / "config.yaml").read_text()
    assert not elsewhere.exists()


@pytest.mark.parametrize("recipe", ["drawn/nothing", "../elsewhere/first", None])
def test_a_checkpoint_that_names_no_shipped_recipe_needs_a_config(
    recipe: str | None, foreign: Path, type_command: Type, tmp_path: Path
) -> None:
    content = torch.load(foreign, weights_only=True)
    content["config"]["report"]["finetune"] = recipe
    torch.save(content, foreign)
    message = type_command("train", "--finetune", foreign, f"runtime.output={tmp_path / 'runs'}").message
    found = "names no recipe for it (report.finetune)" if recipe is None else f"names '{recipe}'"
    assert f"--finetune {foreign}: this checkpoint {found}" in message
    assert "so a CONFIG must say what to fine-tune on; choose one of configs/" in message
    assert "configs/drawn/finetune.yaml" in message
    assert not (tmp_path / "runs").exists()


def write_old(path: Path) -> None:
    torch.save({"model": torch.ones(2).to_sparse()}, path, _use_new_zipfile_serialization=False)


def write_newer(path: Path) -> None:
    torch.save({"format": "tpr", "format_version": 9, "model": {}}, path)


def write_odd_config(path: Path) -> None:
    content = {"format": "tpr", "model": make_irra().state_dict(), "config": {"name": "drawn-x", "model": 7}}
    torch.save(content, path)


def write_looping(path: Path) -> None:
    save_script(Looping(), path)


def write_meta(path: Path) -> None:
    torch.save({"model": {"visual.proj": torch.ones(2, device="meta")}}, path)


def write_cut(path: Path) -> None:
    torch.save({"model": make_irra().state_dict()}, path)
    path.write_bytes(path.read_bytes()[:-2000])


@pytest.mark.parametrize(
    "write", [write_old, write_newer, write_odd_config, write_looping, write_meta, write_cut]
)
def test_a_file_that_cannot_be_used_is_one_line_in_every_command(
    write: Callable[[Path], None], type_command: Type, tmp_path: Path, world: Path
) -> None:
    path = tmp_path / "odd.pt"
    write(path)
    with pytest.raises(CheckpointError, match="odd.pt: ") as error:
        tpr.load_system(path)
    assert "\n" not in str(error.value)
    words = (f"data.root={world}", f"runtime.output={tmp_path / 'runs'}", "runtime.workers=0")
    assert "odd.pt: " in type_command("evaluate", path, "data.test=[cuhk_pedes]").message
    assert "odd.pt" in type_command("convert", path).message
    assert "odd.pt" in type_command("train", "--finetune", path, *words).message
    config = ROOT / "configs" / "drawn" / "finetune.yaml"
    outcome = type_command("train", config, "--finetune", path, *words)
    assert outcome.code == 2 and "odd.pt: " in outcome.err.splitlines()[-1]
    assert not list(tmp_path.glob("*.tpr.pt"))
