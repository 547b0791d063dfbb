"""Files of the published systems, made small on the spot, through every command that takes a checkpoint."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import tpr
from tests.cli.screen import ROOT, Type, read_table
from tests.marks import slow_except
from tests.systems.test_loading import SQUARE, TALL, bare_clip, make_official, save_archive

CONFIG = ROOT / "configs" / "irra" / "cuhk_pedes.yaml"
STORED_IDENTITIES = 37
ARCHITECTURE = (
    "model.architecture={embed_dim: 64, image: {width: 64, layers: 2, heads: 1}, "
    "text: {width: 64, layers: 5, heads: 1}}"
)
RESIZED = "; positional embedding resized 14x14 -> 24x8"
KINDS = slow_except({"irra"}, ["irra", "openai", "open_clip", "safetensors"])


def save_official(kind: str, folder: Path) -> Path:
    """One file as its authors publish it."""
    if kind == "irra":
        system = make_official(setting=replace(TALL, identities=STORED_IDENTITIES))
        state = {f"module.{name}": value for name, value in system.state_dict().items()}
        torch.save({"model": state, "optimizer": {}, "epoch": 60}, folder / "irra.pth")
        return folder / "irra.pth"
    _, state = bare_clip()
    if kind == "openai":
        save_archive({name: value.half() for name, value in state.items()}, folder / "ViT.pt")
        return folder / "ViT.pt"
    if kind == "open_clip":
        torch.save(
            {"state_dict": {f"module.{name}": value for name, value in state.items()}}, folder / "e.pt"
        )
        return folder / "e.pt"
    save_file(state, folder / "open_clip_model.safetensors")
    return folder / "open_clip_model.safetensors"


@pytest.fixture(params=KINDS)
def official(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    return request.param, save_official(request.param, tmp_path)


def find_report(out: str, path: Path) -> str:
    """The line that says what of the file was read."""
    return next(line for line in out.splitlines() if line.startswith(f"{path}: weights: "))


@pytest.mark.slow
def test_an_official_file_is_evaluated_and_converted_to_the_same_numbers(
    official: tuple[str, Path], world: Path, type_command: Type, tmp_path: Path
) -> None:
    kind, path = official
    sets = [f"data.root={world}", "data.test=[cuhk_pedes,rstpreid]", "runtime.workers=0"]
    evaluated = type_command("evaluate", path, *sets)
    assert evaluated.code == 0, evaluated.err
    report = find_report(evaluated.out, path)
    assert (RESIZED in report) == (kind != "irra")
    assert "missing" not in report and "new because" not in report and "left over" not in report
    assert ("does not tell its activation" in evaluated.err) == (kind in ("open_clip", "safetensors"))
    table = read_table(evaluated.out)
    assert set(table) == {"cuhk_pedes", "rstpreid", "mean"}
    assert 0 < table["mean"][0] < 100

    converted = type_command("convert", path)
    assert converted.code == 0, converted.err
    target = path.with_name(f"{path.stem}.tpr.pt")
    assert find_report(converted.out, path) == report
    assert f"written to {target}" in converted.out
    again = type_command("evaluate", target, *sets)
    assert (again.code, again.err) == (0, "")
    assert read_table(again.out) == table

    images = [Image.new("RGB", (50, 120), (200, 30, 40)), next(world.rglob("*.jpg"))]
    texts = ["a man in a red shirt", "a woman with a black bag", "nobody"]
    official_system, own = tpr.load_system(path), tpr.load_system(target)
    for system in (official_system, own):
        for features, count in ((system.encode_images(images), 2), (system.encode_texts(texts), 3)):
            assert features.shape == (count, 64)
            torch.testing.assert_close(features.norm(dim=1), torch.ones(count))
    assert torch.equal(official_system.encode_images(images), own.encode_images(images))
    assert torch.equal(official_system.encode_texts(texts), own.encode_texts(texts))
    assert (official_system.encode_texts(texts[:1]) @ own.encode_texts(texts[1:2]).T).item() < 0.9999


@pytest.mark.slow
def test_an_official_file_is_a_start_for_fine_tuning(
    official: tuple[str, Path], world: Path, type_command: Type, tmp_path: Path
) -> None:
    kind, path = official
    outcome = type_command(
        "train", CONFIG, "--finetune", path, ARCHITECTURE, f"data.root={world}", "data.batch=8",
        "runtime.workers=0", "runtime.max_steps=1", f"runtime.output={tmp_path / 'runs'}",
        "report.ranking_queries=0",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    report = find_report(outcome.out, path)
    folder = tmp_path / "runs" / "irra-cuhk_pedes"
    identities = torch.load(folder / "best.pt", weights_only=True)["setting"]["identities"]
    assert identities != STORED_IDENTITIES
    if kind == "irra":
        assert report.endswith(
            f"new because of another size: classifier.* ({STORED_IDENTITIES}x64 -> {identities}x64)"
        )
        assert RESIZED not in report
    else:
        assert RESIZED in report
        heads = "classifier cross_attn cross_modal_transformer ln_post ln_pre_i ln_pre_t mlm_head"
        missing = report.partition("missing: ")[2].split(", ")
        assert sorted(missing) == [f"{name}.*" for name in heads.split()]
    assert read_table(outcome.out)["cuhk_pedes"][0] > 0
    # One step at 1e-6 leaves the weights where the file put them, to within a few steps' length.
    stored = tpr.load_system(path).state_dict()["base_model.ln_final.weight"]
    trained = torch.load(folder / "best.pt", weights_only=True)["model"]["base_model.ln_final.weight"]
    torch.testing.assert_close(trained, stored, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_a_clip_file_named_by_model_weights_is_a_start_for_training(
    world: Path, type_command: Type, tmp_path: Path
) -> None:
    path = save_official("openai", tmp_path)
    outcome = type_command(
        "train", ROOT / "configs/mllm4text/pretrain_1m.yaml", f"model.weights={path}", ARCHITECTURE,
        f"data.root={world}", "data.batch=8", "runtime.workers=0", "runtime.max_steps=1",
        f"runtime.output={tmp_path / 'runs'}", "report.ranking_queries=0",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert RESIZED in find_report(outcome.out, path)


def test_an_official_file_says_which_configs_can_fine_tune_it(type_command: Type, tmp_path: Path) -> None:
    path = save_official("irra", tmp_path)
    message = type_command("train", "--finetune", path, "data.root=/d").message
    assert f"--finetune {path}: this checkpoint names no recipe for it" in message
    assert "configs/mllm4text/finetune_cuhk_pedes.yaml" in message
    assert "configs/irra/cuhk_pedes.yaml" in message


def test_evaluating_without_test_sets_says_how_to_name_them(type_command: Type, tmp_path: Path) -> None:
    path = save_official("irra", tmp_path)
    assert "data.test=[cuhk_pedes]" in type_command("evaluate", path).message


def test_square_files_stay_square_where_asked(type_command: Type, tmp_path: Path) -> None:
    path = save_official("openai", tmp_path)
    outcome = type_command("convert", path, "--out", tmp_path / "square.pt", "data.image_size=[224,224]")
    assert outcome.code == 0, outcome.err
    assert RESIZED not in outcome.out
    assert tpr.load_system(tmp_path / "square.pt").setting.image_size == SQUARE.image_size
