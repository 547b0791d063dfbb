"""`tpr evaluate`: any number of sets in one table, with a mean where there are several, and intervals."""

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import TINY_CLIP
from tests.cli.screen import ROOT, Outcome, Type, read_table
from tpr.evaluation.protocols.text import TextRetrieval
from tpr.evaluation.protocols.visible_infrared import TEXT_NOTES

SETS = ("cuhk_pedes", "icfg_pedes", "rstpreid")


@pytest.fixture
def evaluate(world: Path, tmp_path: Path, tiny_run: list[str], type_command: Type) -> Type:
    """`tpr evaluate` of a checkpoint that saw two batches of the drawn world."""
    made = type_command(
        "train", ROOT / "configs" / "drawn" / "pretrain.yaml", *tiny_run, TINY_CLIP, "data.test=[]"
    )
    assert made.code == 0, made.err

    def run(sets: tuple[str, ...], *words: str) -> Outcome:
        checkpoint = tmp_path / "runs" / "drawn-pretrain" / "best.pt"
        return type_command("evaluate", checkpoint, f"data.test=[{','.join(sets)}]", *words)

    return run


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_sets_is_one_table_with_their_mean(count: int, evaluate: Type) -> None:
    outcome = evaluate(SETS[:count])
    assert (outcome.code, outcome.err) == (0, "")
    table = read_table(outcome.out)
    assert list(table) == [*SETS[:count], *(["mean"] if count > 1 else [])]
    if count > 1:
        for column, mean in enumerate(table["mean"]):
            values = [table[name][column] for name in SETS[:count]]
            # Cells and mean are rounded to two decimals each.
            assert mean == pytest.approx(sum(values) / count, abs=0.0101)


def test_every_row_has_intervals_that_hold_its_numbers(evaluate: Type) -> None:
    outcome = evaluate(SETS, "--intervals")
    rows = [line for line in outcome.out.splitlines() if re.match(rf"\| ({'|'.join(SETS)}|mean) ", line)]
    assert len(rows) == 4
    widths: dict[str, list[float]] = {}
    for line in rows:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert len(cells) == 1 + len(TextRetrieval.measures)
        found = [re.fullmatch(r"([\d.]+) \[([\d.]+), ([\d.]+)\]", cell) for cell in cells[1:]]
        assert all(found), line
        for match in found:
            assert match is not None
            value, low, high = map(float, match.groups())
            # Limits have one decimal.
            assert low - 0.05 <= value <= high + 0.05
            widths.setdefault(cells[0], []).append(high - low)
    # Three sets together are surer than the least sure of them; R@10 is 100 for all with so few people.
    assert widths["mean"][0] < max(widths[name][0] for name in SETS)


def test_json_has_the_numbers_and_intervals_of_every_set(evaluate: Type) -> None:
    tree = json.loads(evaluate(SETS, "--intervals", "--json").out.partition("\n{")[2].join(("{", "")))
    assert [row["dataset"] for row in tree["rows"]] == list(SETS)
    for row in tree["rows"]:
        assert set(row["intervals"]) == set(TextRetrieval.measures)


def test_directions_by_their_old_name_are_measured_and_said_to_be_old(evaluate: Type) -> None:
    outcome = evaluate(("cuhk_pedes",), "evaluation.directions=[text_to_image, image_to_text]")
    assert outcome.code == 0
    assert outcome.err == (
        "warning: evaluation.directions is now evaluation.text.directions: write text.directions "
        "(in command line)\n"
    )
    assert list(read_table(outcome.out)) == ["cuhk_pedes text to image", "cuhk_pedes image to text"]
    today = evaluate(("cuhk_pedes",), "evaluation.text.directions=[text_to_image, image_to_text]")
    assert (today.err, read_table(today.out)) == ("", read_table(outcome.out))


def test_visible_infrared_sets_are_searched_by_text_and_say_so(evaluate: Type) -> None:
    outcome = evaluate(("sysu_mm01", "regdb", "llcm"), "evaluation.visible_infrared.trials=3")
    assert outcome.code == 0
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in outcome.out.splitlines()]
    rows = [row for row in rows if len(row) == 8]
    assert rows[0] == ["dataset", "query", "R@1", "R@5", "R@10", "R@20", "mAP", "mINP"]
    assert [row[:2] for row in rows[1:]] == [
        [name, "text"] for name in ("sysu_mm01 all", "sysu_mm01 indoor", "regdb", "llcm")
    ]
    assert all(re.fullmatch(r"[\d.]+( ± [\d.]+)?", cell) for row in rows[1:] for cell in row[2:])
    assert outcome.out.splitlines()[-2:] == [
        "(mean ± sample deviation over 3 drawn galleries)",
        f"({TEXT_NOTES['own']})",
    ]


def test_images_alone_are_no_query_of_a_system_of_texts(evaluate: Type) -> None:
    outcome = evaluate(("regdb",), "evaluation.visible_infrared.queries=[infrared]")
    assert outcome.code == 2
    where = "evaluation.visible_infrared.queries"
    assert outcome.err == f"tpr: {where}: the system cannot encode 'infrared'; it can encode text\n"


def test_what_cannot_be_measured_is_refused_before_training(
    tiny_run: list[str], tmp_path: Path, type_command: Type
) -> None:
    words = ["data.test=[regdb]", "evaluation.visible_infrared.queries=[infrared]"]
    outcome = type_command("train", ROOT / "configs" / "drawn" / "pretrain.yaml", *tiny_run, *words)
    assert outcome.code == 2
    assert "the system cannot encode 'infrared'" in outcome.err
    assert "step" not in outcome.out


def test_another_split_than_the_trained_one_is_refused(
    tiny_run: list[str], tmp_path: Path, type_command: Type
) -> None:
    config = ROOT / "configs" / "drawn" / "pretrain.yaml"
    made = type_command("train", config, *tiny_run, "data.train=[regdb]", "data.test=[]")
    assert made.code == 0, made.err
    checkpoint = tmp_path / "runs" / "drawn-pretrain" / "best.pt"
    assert type_command("evaluate", checkpoint, "data.test=[regdb]").code == 0
    outcome = type_command("evaluate", checkpoint, "data.test=[{name: regdb, split: 2}]")
    assert outcome.code == 2
    assert outcome.err.startswith("tpr: data.test[0] 'regdb' is split 2, but split 1 is trained on")
    assert outcome.err.count("\n") == 1
