"""Every published recipe runs: two steps on drawn folders, with nothing changed but the size of the model.

What a tiny world forces is changed as well: batch, loader processes, output folder.
"""

import json
from pathlib import Path

import pytest

from tests.cli.screen import Type, read_table, run_script
from tests.marks import slow_except
from tpr.config.reader import read_tree

ROOT = Path(__file__).parents[2]
RECIPES = sorted(
    str(path.relative_to(ROOT))
    for family in ("irra", "mllm4text", "ham", "rde")
    for path in (ROOT / "configs" / family).glob("*.yaml")
)
PUBLISHED = "configs/mllm4text/pretrain_1m.yaml"
QUICK = {"configs/irra/cuhk_pedes.yaml", "configs/mllm4text/pretrain_100k.yaml"}
"""The quick tests run these; the slow ones run every recipe, and one by the script."""


def list_tests(recipe: str) -> list[str]:
    """The sets in `data.test` of a recipe."""
    return list(read_tree(ROOT / recipe).values["data"]["test"])


def check_closing(out: str, recipe: str, output: Path) -> None:
    """The run ended with its table, a row per test set, and says where everything is."""
    folder = output / f"{Path(recipe).parent.name}-{Path(recipe).stem}"
    table = read_table(out)
    for name in list_tests(recipe):
        row = next(values for label, values in table.items() if name in label)
        assert all(0 < value <= 100 for value in row)
        assert row[0] <= row[1] <= row[2]
    assert out.rindex("R@1") < out.rindex("run folder:")
    assert f"run folder:  {folder}" in out
    assert f"checkpoint:  {folder / 'best.pt'}" in out
    assert f"rankings:    {folder / 'ranking.png'}" in out
    for name in ("config.yaml", "log.txt", "journal.jsonl", "last.pt", "best.pt", "ranking.png"):
        assert (folder / name).stat().st_size, name
    steps = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    assert max(event["step"] for event in steps) == 2


def test_there_are_recipes_of_four_families() -> None:
    assert len(RECIPES) >= 25
    assert {PUBLISHED, *QUICK} <= set(RECIPES)


@pytest.mark.parametrize("recipe", slow_except(QUICK, RECIPES))
def test_a_recipe_takes_two_steps_and_ends_with_its_table(
    recipe: str, type_command: Type, tiny_run: list[str], tmp_path: Path
) -> None:
    outcome = type_command("train", ROOT / recipe, *tiny_run)
    assert outcome.code == 0, outcome.err
    check_closing(outcome.out, recipe, tmp_path / "runs")


@pytest.mark.slow
def test_run_sh_takes_a_recipe_two_steps_and_ends_with_its_table(tiny_run: list[str], tmp_path: Path) -> None:
    recipe = "configs/irra/cuhk_pedes.yaml"
    done = run_script("run.sh", recipe, *tiny_run)
    assert done.code == 0, done.err
    check_closing(done.out, recipe, tmp_path / "runs")


@pytest.mark.parametrize("recipe", ["pretrain", pytest.param("mllm4text", marks=pytest.mark.slow)])
def test_a_drawn_checkpoint_is_fine_tuned_without_a_config(
    recipe: str, type_command: Type, tiny_run: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "runs"
    first = type_command("train", ROOT / f"configs/drawn/{recipe}.yaml", *tiny_run)
    assert first.code == 0, first.err
    assert f"next:        sh finetune.sh --finetune {folder}/drawn-{recipe}/best.pt" in first.out
    # The architecture and the data root come from the checkpoint.
    words = [word for word in tiny_run if not word.startswith(("model.", "data.root="))]
    second = type_command("train", "--finetune", folder / f"drawn-{recipe}" / "best.pt", *words)
    assert second.code == 0, second.err
    table = read_table(second.out)
    assert table["cuhk_pedes direct transfer"] == read_table(first.out)["cuhk_pedes"]
    assert "cuhk_pedes fine-tuned" in table
    assert f"evaluate {folder}/drawn-finetune/best.pt --intervals" in second.out
    assert "finetune.sh" not in second.out
    evaluated = type_command("evaluate", folder / "drawn-finetune" / "best.pt", "--intervals")
    assert (evaluated.code, evaluated.err) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    "processes", ["1", pytest.param("2", marks=pytest.mark.ddp)], ids="{} processes".format
)
def test_a_recipe_without_data_ends_in_one_line_that_says_what_was_expected_where(processes: str) -> None:
    done = run_script("run.sh", PUBLISHED, "data.root=/nonexistent", NPROC=processes)
    assert done.message == (
        "tpr: data.train[0] 'luperson_mllm': data.root='/nonexistent' is no folder; "
        "set data.root or the environment variable TPR_DATA"
    )
