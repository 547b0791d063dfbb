"""Captions said in other words: plans whose requests are texts."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.captioning.plans import make_crops, make_plan, rows_of, run_plan
from tests.captioning.test_run import Counting
from tpr.captioning.engines import CaptionReply, CaptionRequest
from tpr.captioning.filters import FilterOptions, find_fault
from tpr.captioning.forms import write_corpus
from tpr.captioning.merge import Merge
from tpr.captioning.plan import CaptionPlan, read_plan
from tpr.captioning.verify import verify_plan
from tpr.cli import main

SOURCE = "A man with short hair is wearing a red coat and black shoes."


def type_words(*words: object) -> int:
    return main(["caption", *map(str, words)])


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    return make_crops(tmp_path / "crops")


@pytest.fixture
def described(tmp_path: Path, crops: Path) -> CaptionPlan:
    plan = make_plan(tmp_path / "described", crops, engine={"bad": 0.4}, attempts=1)
    run_plan(plan)
    return plan


def test_every_caption_of_a_view_is_rephrased(
    tmp_path: Path, crops: Path, described: CaptionPlan, capfd
) -> None:
    folder = tmp_path / "rephrased"
    assert type_words("plan", described.folder, folder, "--rephrase", "--view", "static-0") == 0
    plan = read_plan(folder)
    texts = {row["file_path"]: row["caption"] for row in rows_of(described) if row["view"] == "static-0"}
    assert 0 < len(texts) < 20
    assert {
        entry.image: entry.text for number in range(plan.shards) for entry in plan.entries(number)
    } == texts
    engine = Counting(plan.engine.options)
    for image in crops.rglob("*.jpg"):
        image.unlink()
    run_plan(plan, engine)
    assert all(texts[request.image] in request.instruction for request in engine.asked)
    assert not any(request.has_image for request in engine.asked)
    assert {row["identity"] for row in rows_of(plan)} == {row["identity"] for row in rows_of(described)}
    assert verify_plan(plan).captions == len(texts)

    write_corpus(Merge(plans=[plan], out=tmp_path / "out", labels=("Blip_RGB",)).check(), "tvi_lfm")
    (path,) = (tmp_path / "out" / "Blip_RGB").iterdir()
    assert path.name == "caption_llm_dict_Blip_RGB.json"
    rephrased = {row["file_path"]: row["caption"] for row in rows_of(plan)}
    assert json.loads(path.read_text()) == {
        image: {"description": text, "aug_description": rephrased[image]} for image, text in texts.items()
    }


def test_a_set_is_rephrased_by_its_first_captions(tmp_path: Path, crops: Path, capfd, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    records = [
        {
            "image": f"0001/00_{number}.jpg",
            "identity": 7,
            "captions": [SOURCE] * (number % 2),
            "split": "train",
        }
        for number in range(4)
    ]
    (crops / "people.jsonl").write_text("\n".join(map(json.dumps, records)))
    words = ("--root", tmp_path, "--options", "path=crops/people.jsonl", "--captions", "rephrase=2")
    assert type_words("plan", "jsonl", tmp_path / "plan", "--rephrase", *words) == 0
    assert "2 images, 4 captions" in capfd.readouterr().out
    assert type_words("run", tmp_path / "plan") == 0
    assert "4 captions, 0 failed" in capfd.readouterr().out


def test_a_rephrase_is_new_and_not_twice_as_long(tmp_path: Path, described: CaptionPlan) -> None:
    other = "A man whose hair is short has a red coat and black shoes on."
    options = FilterOptions()
    assert find_fault(other, options, source=SOURCE) is None
    assert find_fault(SOURCE, options, source=SOURCE) == "duplicate"
    assert (
        find_fault(" ".join([other[:-1], "and"] * 2 + ["he is there."]), options, source=SOURCE) == "too long"
    )


def test_colours_can_be_taken_off_what_a_model_adds(tmp_path: Path, crops: Path) -> None:
    class Colourful(Counting):
        def generate(self, requests: Sequence[CaptionRequest]) -> list[CaptionReply]:
            return [CaptionReply(text=SOURCE) for _ in requests]

    options = {"captions": {"static": 1}, "filters": FilterOptions(colours="remove", duplicates=True)}
    plan = make_plan(tmp_path / "infrared", crops, **options)
    run_plan(plan, Colourful(plan.engine.options))
    wanted = "A man with short hair is wearing a coat and shoes."
    assert {row["caption"] for row in rows_of(plan)} == {wanted}
    assert verify_plan(plan).captions == 20


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{crops}", "{new}", "--rephrase"], "holds no plan.json; name a finished plan"),
        (
            ["{plan}", "{new}", "--rephrase"],
            "choose with --view of static-0, dynamic-0",
        ),
        (["{plan}", "{new}", "--rephrase", "--view", "static-9"], "'static-9' is not in the plan"),
        (
            ["{plan}", "{new}", "--rephrase", "--view", "static-0", "--captions", "static=1"],
            "about an image",
        ),
        (
            ["{crops}", "{new}", "--captions", "rephrase=1"],
            "'rephrase' asks about a caption, as --rephrase has",
        ),
    ],
    ids=lambda part: str(part)[:50],
)
def test_bad_input_is_one_line(
    tmp_path: Path, crops: Path, described: CaptionPlan, capfd, words: list[str], message: str
) -> None:
    places = {"crops": crops, "plan": described.folder, "new": tmp_path / "new"}
    assert type_words("plan", *(word.format(**places) for word in words)) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert message in line
