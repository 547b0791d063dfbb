"""A seeded sample of `scripts/fuzz.py`: damaged input is accepted, or refused in one line; never worse."""

import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))

from fuzzing import runner  # noqa: E402
from fuzzing.checkpoints import Checkpoints  # noqa: E402
from fuzzing.configs import Configurations, Overrides  # noqa: E402
from fuzzing.damage import damage, damage_text  # noqa: E402
from fuzzing.images import Images  # noqa: E402
from fuzzing.sets import Annotations, Caches, Shards  # noqa: E402
from fuzzing.verdict import Attempt, Kind, Verdict, judge  # noqa: E402

from tpr.errors import DataError  # noqa: E402

SEED = 1


class RstpAnnotations(Annotations):
    """The annotation file of one set: drawing them all takes seconds."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ["rstpreid"])


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Damaged files are full of what libraries warn of."""
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("kind", "attempts"),
    [
        (Images, 150),
        (RstpAnnotations, 12),
        (Configurations, 8),
        (Overrides, 60),
        (Checkpoints, 16),
        (Shards, 12),
        (Caches, 8),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_damage_is_accepted_or_one_line(kind: type[Kind], attempts: int, tmp_path: Path) -> None:
    made = kind(tmp_path)
    found = [judge(made, kind.__name__, SEED, number) for number in range(attempts)]
    for attempt in found:
        assert not attempt.verdict.is_failure, attempt
    # A damaged cache is made again, whatever the damage.
    assert len({attempt.verdict for attempt in found}) > 1 or kind is Caches


@pytest.mark.slow
@pytest.mark.parametrize("name", runner.KINDS)
def test_every_kind_can_be_fuzzed_by_hand(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert runner.main([name, "--attempts", "1" if name == "resume" else "30"]) == 0, capfd.readouterr().out


class Toy(Kind):
    """Ends as its number says."""

    def attempt(self, random: Random) -> Verdict:
        number = random.randrange(4)
        if number == 0:
            raise DataError("no\nnewline is printed")
        if number == 1:
            raise ValueError("somebody forgot this")
        return Verdict.SAME if number == 2 else Verdict.SILENT


def test_an_attempt_depends_on_kind_seed_and_number_alone(tmp_path: Path) -> None:
    found = [judge(Toy(tmp_path), "toy", 0, number) for number in range(40)]
    assert [judge(Toy(tmp_path), "toy", 0, number).verdict for number in range(20, 40)] == [
        attempt.verdict for attempt in found[20:]
    ]
    verdicts = {Verdict.REFUSED, Verdict.TRACEBACK, Verdict.SAME, Verdict.SILENT}
    assert {attempt.verdict for attempt in found} == verdicts
    assert {attempt.detail for attempt in found if attempt.verdict is Verdict.REFUSED} == {
        "no newline is printed"
    }


def test_a_failure_is_counted_and_can_be_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [Attempt(0, Verdict.SAME), Attempt(1, Verdict.CRASH, "signal 11")]
    monkeypatch.setattr(runner, "try_kind", lambda *_: found)
    assert runner.main(["images", "--seed", "3"]) == 1
    assert "images: crash; again: fuzz.py images --seed 3 --only 1\nsignal 11" in capsys.readouterr().out
    found.pop()
    assert runner.main(["images"]) == 0


def test_damage_is_the_same_for_the_same_seed_and_differs_for_another() -> None:
    for spoil in (damage, damage_text):
        content = b'{"a": [1, 2, "three"], "b": null}' * 9
        one, two, three = (spoil(content, Random(seed)) for seed in (1, 1, 2))
        assert one == two != three
        assert spoil(b"", Random(0)) is not None
