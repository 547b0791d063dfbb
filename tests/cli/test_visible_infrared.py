"""Recipes, tables and official files of visible-infrared retrieval, as a person types them."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.cli.screen import ROOT, Outcome, Type
from tests.marks import slow_except
from tests.systems.small_systems import SETTING, make_tvi_lfm
from tpr.models.architecture import TextArchitecture
from tpr.models.two_stream import TwoStreamOptions
from tpr.systems.tvi_lfm_options import TviLfmOptions

SETS = slow_except({"sysu_mm01"}, ["sysu_mm01", "regdb", "llcm"])
KINDS = ["infrared", "text", "fused", "ensemble"]
OFFICIAL = [
    ("visual.visible.conv.", "base_model.visual.rgb_model.resnet_conv.0."),
    ("visual.visible.norm.", "base_model.visual.rgb_model.resnet_conv.1."),
    ("visual.infrared.conv.", "base_model.visual.ir_model.resnet_conv.0."),
    ("visual.infrared.norm.", "base_model.visual.ir_model.resnet_conv.1."),
    ("visual.stages.", "base_model.visual.shared_model.resnet_conv."),
    ("pool.", "base_model.visual.GEM."),
    ("text.", "base_model."),
    ("head.norm.", "classifier.BN."),
    ("head.classifier.", "classifier.classifier."),
]


@pytest.fixture
def tiny_streams(world: Path, tmp_path: Path) -> list[str]:
    """Overrides that make any of the recipes a run of two steps on the tiny world."""
    return [
        "model.layers=[1, 1, 1, 1]",
        "model.width=2",
        "model.text={width: 16, layers: 1, heads: 2}",
        "model.weights=null",
        "model.text_weights=null",
        f"data.root={world}",
        "data.batch=8",
        "runtime.workers=0",
        "runtime.max_steps=2",
        "report.ranking_queries=1",
        f"runtime.output={tmp_path / 'runs'}",
    ]


def read_rows(folder: Path) -> list[dict]:
    return json.loads((folder / "results.json").read_text())["results"]["rows"]


@pytest.fixture(scope="module")
def trained() -> dict[str, tuple[Outcome, Path]]:
    """By recipe what it said and where its runs are: trained once, by the first test that asks for it."""
    return {}


@pytest.fixture
def train(
    trained: dict[str, tuple[Outcome, Path]],
    tiny_streams: list[str],
    type_command: Type,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], tuple[Outcome, Path]]:
    """Trains both stages of a recipe."""

    def run(name: str) -> tuple[Outcome, Path]:
        if name not in trained:
            recipe, runs = ROOT / "configs" / "tvi_lfm" / f"{name}.yaml", tmp_path_factory.mktemp("runs")
            words = ["evaluation.visible_infrared.trials=2", f"runtime.output={runs}"]
            trained[name] = type_command("train", recipe, *tiny_streams, *words), runs
        return trained[name]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_a_recipe_trains_both_stages_and_ends_with_its_tables(
    name: str, train: Callable[[str], tuple[Outcome, Path]]
) -> None:
    outcome, runs = train(name)
    assert outcome.code == 0, outcome.err
    base, whole = (runs / f"tvi_lfm-{name}{suffix}" for suffix in ("_base", ""))
    first, second = outcome.out.split(f"run folder:  {base}")
    assert re.search(r"\| infrared +\|", first) and not re.search(r"\| (text|fused|ensemble) +\|", first)
    for kind in KINDS:
        assert re.search(rf"\| {kind}\b", second), kind
    table, _, closing = second.rpartition("next: ")
    assert closing.endswith(f"evaluate {whole / 'best.pt'}\n"), "means over galleries have no intervals"
    # Published numbers stand apart, below the run's own table.
    assert "oracle" not in table.partition("| published")[0].lower() and re.search(r"own", table)
    assert "--intervals" not in outcome.out
    assert len(read_rows(whole)) == len(KINDS) * len(read_rows(base))
    assert f"run folder:  {whole}" in second


@pytest.mark.slow
def test_oracle_text_is_marked_and_finds_no_less_than_a_row_of_its_own(
    train: Callable[[str], tuple[Outcome, Path]], type_command: Type
) -> None:
    best = train("sysu_mm01")[1] / "tvi_lfm-sysu_mm01" / "best.pt"
    own = type_command("evaluate", best)
    oracle = type_command("evaluate", best, "evaluation.visible_infrared.text=oracle")
    assert (own.code, oracle.code) == (0, 0)
    assert "ORACLE" in oracle.out and "ORACLE" not in own.out


def save_official(path: Path) -> Path:
    """A small trained model under its official names, without the head of the base training."""
    text = TextArchitecture(width=64, layers=1, heads=1)
    system = make_tvi_lfm(
        TviLfmOptions(visual="trained"),
        setting=replace(SETTING, text_length=77, identities=13),
        model=TwoStreamOptions(layers=(1, 1, 1, 1), width=2, text=text),
    )
    state = {"logit_scale": torch.tensor(2.66)}
    for name, value in system.state_dict().items():
        ours, official = next(pair for pair in OFFICIAL if name.startswith(pair[0]))
        state[official + name.removeprefix(ours)] = value
    torch.save(state, path)
    return path


@pytest.mark.slow
def test_an_official_file_is_evaluated_and_converted_to_the_same_numbers(
    world: Path, type_command: Type, tmp_path: Path
) -> None:
    path = save_official(tmp_path / "vi.pth")
    words = [f"data.root={world}", "data.test=[sysu_mm01]", "runtime.workers=0", "data.image_size=[96, 48]"]
    evaluated = type_command("evaluate", path, *words, "--json")
    assert evaluated.code == 0, evaluated.err
    assert "weights: 132 of 132 tensors fit" in evaluated.out + evaluated.err
    converted = type_command("convert", path, "--out", tmp_path / "ours.pt", "data.image_size=[96, 48]")
    assert converted.code == 0, converted.err
    again = type_command("evaluate", tmp_path / "ours.pt", *words[:3], "--json")
    first, second = (json.loads(text.out[text.out.index("{") :])["rows"] for text in (evaluated, again))
    assert first == second and len(first) == 2 * len(KINDS)


def test_a_drawn_checkpoint_of_two_streams_needs_a_config_to_be_fine_tuned(
    tiny_streams: list[str], type_command: Type, tmp_path: Path
) -> None:
    base = ROOT / "configs" / "drawn" / "visible_infrared_base.yaml"
    outcome = type_command("train", base, *tiny_streams)
    assert outcome.code == 0, outcome.err
    best = tmp_path / "runs" / "drawn-visible_infrared_base" / "best.pt"
    assert f"evaluate {best}" in outcome.out and "finetune.sh" not in outcome.out
    message = type_command("train", "--finetune", best).message
    assert "this checkpoint names no recipe for it (report.finetune), so a CONFIG must say" in message
