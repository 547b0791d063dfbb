"""Plans that draw a style for each caption: which, that it is recorded, that the corpus is HAM-PEDES."""

from collections import Counter
from pathlib import Path

import pytest

from tests.captioning.plans import make_crops, make_plan, run_plan
from tests.data.small_sets import load
from tests.documents.blocks import ROOT
from tpr.captioning.draws import draw_style
from tpr.captioning.forms import write_corpus
from tpr.captioning.merge import Merge
from tpr.captioning.shards import read_parts
from tpr.captioning.verify import verify_plan
from tpr.cli import main
from tpr.errors import ConfigError, DataError
from tpr.report.console import configure_logging

STYLED = {"captions": {"styled": 2}, "styles": 50, "engine": {"bad": 0.3}}
TINY = [
    "model={name: clip, weights: null, architecture: {embed_dim: 16, "
    "image: {width: 16, layers: 1, heads: 2}, text: {width: 16, layers: 1, heads: 2}}}",
    "data.image_size=[32, 16]",
    "data.batch=4",
    "data.test=[]",
    "evaluation.select_on=last",
    "runtime.max_steps=2",
    "runtime.workers=0",
    "runtime.device=cpu",
]
COLUMNS = ("file_path", "view", "style", "attempt", "seed", "instruction")


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    return make_crops(tmp_path_factory.mktemp("world") / "Part1", people=5, each=4)


def styles_of(plan):
    return {
        (row["file_path"], row["view"]): (row["style"], row["attempt"])
        for shard in range(plan.shards)
        for row in read_parts(plan, shard, COLUMNS)
    }


def test_the_captions_of_an_image_and_their_attempts_have_styles_of_their_own() -> None:
    for count in (1, 2, 7, 12, 3000):
        for number in range(50):
            drawn = [
                draw_style(3, f"{number}.jpg", view, attempt, 2, count)
                for attempt in range(5)
                for view in range(2)
            ]
            assert all(0 <= style < count for style in drawn)
            assert len(set(drawn[: min(count, 10)])) == min(count, 10)


def test_every_style_is_drawn_as_often_as_chance_has_it() -> None:
    counts = Counter(draw_style(0, f"{row}.jpg", view, 0, 2, 300) for row in range(30_000) for view in (0, 1))
    # 200 expected, deviation 14: five of them.
    assert len(counts) == 300 and min(counts.values()) > 130 and max(counts.values()) < 270


def test_a_draw_is_the_same_on_every_machine() -> None:
    # Fixed numbers: a change of the function would change every published corpus.
    assert [
        draw_style(1, "a/b.jpg", view, attempt, 2, 3000) for view, attempt in ((0, 0), (1, 0), (0, 1))
    ] == [2723, 1050, 2377]


def test_styles_are_recorded_and_depend_on_the_plan_alone(tmp_path: Path, crops: Path) -> None:
    one = make_plan(tmp_path / "one", crops, **STYLED)
    two = make_plan(tmp_path / "two", crops, **STYLED | {"shard_images": 20})
    for plan in (one, two):
        run_plan(plan)
        assert verify_plan(plan).requests == 40
    assert styles_of(one) == styles_of(two)
    places = {view.name: number for number, view in enumerate(one.views)}
    for (image, view), (style, attempt) in styles_of(one).items():
        assert style == draw_style(0, image, places[view], attempt, 2, 50)
    assert any(attempt for _, attempt in styles_of(one).values()), "a retry draws another style"
    other = make_plan(tmp_path / "other", crops, **STYLED | {"seed": 1})
    run_plan(other)
    assert styles_of(other) != styles_of(one)


def test_other_kinds_have_no_style_and_the_mark_is_no_text(tmp_path: Path, crops: Path) -> None:
    plan = make_plan(tmp_path / "plan", crops, captions={"static": 1, "styled": 1}, styles=9)
    static, styled = (plan.make_request(plan.entries(0)[0], view, 0, crops) for view in plan.views)
    assert static.style is None and styled.style in range(9)
    assert "{" not in styled.instruction and styled.instruction.startswith("Describe only the person")


def test_a_style_that_the_plan_did_not_draw_is_found(tmp_path: Path, crops: Path) -> None:
    plan = make_plan(tmp_path / "plan", crops, **STYLED)
    run_plan(plan)
    plan.settings.__dict__["styles"] = 49
    with pytest.raises(DataError, match="has a seed, template or style that the plan does not draw"):
        verify_plan(plan)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"captions": {"styled": 1}}, "'styled' needs --styles"),
        ({"captions": {"static": 1}, "styles": 3}, "no kind of these captions has a {style}"),
        ({"captions": {"styled": 1}, "styles": -1}, "styles: expected int >= 0, got -1"),
    ],
)
def test_styles_and_kinds_must_fit(tmp_path: Path, crops: Path, options, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_plan(tmp_path / "plan", crops, **options)


@pytest.fixture
def corpus(tmp_path: Path, crops: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with a HAM-PEDES that a styled plan made."""
    plan = make_plan(tmp_path / "plan", crops.parent, **STYLED)
    run_plan(plan)
    folder = tmp_path / "data" / "HAM-PEDES"
    write_corpus(Merge(plans=[plan], out=folder).check(), "ham_pedes")
    (folder / "Part1").symlink_to(crops)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder.parent


def test_a_merged_corpus_is_read_as_ham_pedes(corpus: Path) -> None:
    found = load(corpus, "ham_pedes")
    assert len(found) == 20 and found.caption_count >= 38
    assert all((corpus / found.image_path(row)).is_file() for row in range(20))


def test_the_shipped_recipe_trains_on_a_merged_corpus(corpus: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = [str(ROOT / "configs" / "ham" / "pretrain_1m.yaml"), *TINY, f"data.root={corpus}"]
    assert main(["train", *words]) == 0
    configure_logging()  # closes the run's log
    (best,) = tmp_path.glob("runs/*/last.pt")
    assert best.is_file()
