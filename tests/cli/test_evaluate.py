"""`tpr evaluate`: any number of sets in one table, with a mean where there are several, and intervals."""

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import TINY_CLIP
from tests.cli.screen import ROOT, Outcome, Type, read_table
from tpr.evaluation.metrics import MEASURES

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
        assert len(cells) == 1 + len(MEASURES)
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
    assert [row["set"] for row in tree["rows"]] == list(SETS)
    for row in tree["rows"]:
        assert set(row["intervals"]) == set(MEASURES)
