"""Captions of the drawn world: their truth, their errors at the stated rates, their styles."""

import random
from dataclasses import replace
from typing import Any

import pytest

from tpr.drawn.annotators import CASUAL, FINE, PLAIN, QWEN_STATIC, SHIKRA_DYNAMIC, Annotator
from tpr.drawn.cameras import WEB
from tpr.drawn.captions import SLOT, DrawnCaption, describe
from tpr.drawn.corpora import plan_luperson_mllm
from tpr.drawn.labels import mals_labels, synth_attributes
from tpr.drawn.people import Person, draw_person
from tpr.drawn.views import View, draw_view
from tpr.drawn.vocabulary import SLOTS

WOMAN = Person(
    gender="woman", age="adult", build=1.0, height=1.0, skin=0, hair="long", hair_colour="brown",
    upper="shirt", upper_colour="red", sleeve="long", pattern="plain", pattern_colour="none",
    inner_colour="none", lower="skirt", lower_colour="black", shoes="boots", shoe_colour="white", hat="none",
    hat_colour="red", glasses="none", bag="backpack", bag_colour="yellow", scarf_colour="none",
    carried="none", dye=1,
)  # fmt: skip
EVERYTHING = {detail: 1.0 for detail in "HUFLABV"} | {"pattern": 1.0, "sleeve": 1.0}


@pytest.fixture(scope="module")
def luperson() -> dict[str, Any]:
    return dict(plan_luperson_mllm(60, seed=0).files)


def view_of(seed: int = 0, yaw: float = 0.0) -> View:
    return replace(draw_view(WEB[0], random.Random(seed)), yaw=yaw, occluder="none")


def captions_by(annotator: Annotator, count: int = 300) -> list[DrawnCaption]:
    captions = []
    for number in range(count):
        source = random.Random(number)
        captions.append(describe(draw_person(source), view_of(number), annotator, source))
    return captions


def words_of(person: dict[str, Any]) -> set[str]:
    """Every word of the shared column that is true of the person."""
    child = {"man": "boy", "woman": "girl"}[person["gender"]]
    values = {
        "colour": [value for key, value in person.items() if key.endswith("colour") and key != "hair_colour"],
        "person": [child if person["age"] == "child" else person["gender"]],
        "hair colour": [person["hair_colour"]],
    }
    values |= {slot: [person[slot]] for slot in SLOTS if slot not in values}
    phrases = [
        phrase
        for slot, table in SLOTS.items()
        for value in values[slot]
        if value in table
        for phrase in table[value]["shared"]
    ]
    return {word for phrase in phrases for word in phrase.split()}


def test_unmarked_attribute_words_are_true_and_marked_ones_mostly_not(luperson: dict[str, Any]) -> None:
    truth, marked, marked_but_possible = luperson["truth.json"], 0, 0
    for file in ("Ts-qwen", "Td-qwen", "Ts-shikra", "Td-shikra"):
        for name, text in luperson[f"captions/{file}.json"].items():
            words = [word.strip(".,").lower() for word in text.split()]
            marks, known = truth["captions"][file][name], words_of(truth["pictures"][name])
            assert set(marks["wrong_words"]) <= set(marks["attribute_words"])
            for position in marks["attribute_words"]:
                if position not in marks["wrong_words"]:
                    assert words[position] in known, (text, words[position])
                else:
                    marked += 1
                    marked_but_possible += words[position] in known
    assert marked > 1000
    assert marked_but_possible < 0.35 * marked


def test_fifteen_percent_of_attribute_words_are_wrong(luperson: dict[str, Any]) -> None:
    for marks in luperson["truth.json"]["captions"].values():
        attribute = sum(len(mark["attribute_words"]) for mark in marks.values())
        wrong = sum(len(mark["wrong_words"]) for mark in marks.values())
        assert 0.13 < wrong / attribute < 0.17


def test_one_percent_of_captions_have_an_unfilled_slot_or_markup_and_the_truth_says_which(
    luperson: dict[str, Any],
) -> None:
    defects, total = 0, 0
    for file, marks in luperson["truth.json"]["captions"].items():
        for name, text in luperson[f"captions/{file}.json"].items():
            assert (marks[name]["defect"] == "slot") == ("description]" in text)
            assert (marks[name]["defect"] == "markup") == ("<" in text)
            defects += marks[name]["defect"] is not None
            total += 1
    assert 0.006 < defects / total < 0.014


def test_people_appear_a_few_times_and_names_do_not_say_who(luperson: dict[str, Any]) -> None:
    people = [person["dye"] for _, person in sorted(luperson["truth.json"]["pictures"].items())]
    assert 0.4 < len(set(people)) / len(people) < 0.8
    neighbours = sum(a == b for a, b in zip(people, people[1:], strict=False))
    assert neighbours < 0.01 * len(people)


def test_annotator_without_errors_says_the_truth() -> None:
    everything = replace(PLAIN, own_words=0.0, mentions=EVERYTHING, thorough=1.0)
    text = describe(WOMAN, view_of(), everything, random.Random(3)).text
    for phrase in (
        "long",
        "brown",
        "hair",
        "red",
        "shirt",
        "black",
        "skirt",
        "white boots",
        "yellow backpack",
    ):
        assert phrase in text.lower()


def test_annotator_who_is_always_wrong_never_says_the_truth() -> None:
    liar = replace(QWEN_STATIC, wrong_words=1.0)
    for seed in range(100):
        caption = describe(WOMAN, view_of(seed), liar, random.Random(seed))
        words = caption.text.lower().replace(".", "").replace(",", "").split()
        assert caption.wrong_words == caption.attribute_words
        assert not {"woman", "skirt", "boots", "backpack"} & set(words)


def test_word_positions_point_at_the_words() -> None:
    style = replace(
        SHIKRA_DYNAMIC, sentences=("[S] wearing [U], [L].",), endings={}, mentions=EVERYTHING, ages=0.0
    )
    caption = describe(
        WOMAN, view_of(), replace(style, mentions=EVERYTHING | {"sleeve": 0.0}), random.Random(1)
    )
    assert caption.text == "A woman wearing a red shirt, a black skirt."
    assert caption.attribute_words == (1, 4, 5, 7, 8)
    assert caption.wrong_words == ()


def test_caption_lengths_follow_the_published_means() -> None:
    for annotator, published in ((PLAIN, 23.5), (FINE, 37.2), (CASUAL, 25.8)):
        captions = captions_by(annotator)
        mean = sum(len(caption.text.split()) for caption in captions) / len(captions)
        assert abs(mean - published) < 0.12 * published


def test_each_benchmark_has_words_that_pretraining_never_shows(luperson: dict[str, Any]) -> None:
    seen = {
        word.strip(".,").lower()
        for path, captions in luperson.items()
        if path.startswith("captions/")
        for text in captions.values()
        for word in text.split()
    }
    own: list[set[str]] = []
    for annotator in (PLAIN, FINE, CASUAL):
        words = {
            word.strip(".,").lower() for caption in captions_by(annotator) for word in caption.text.split()
        }
        own.append(words - seen)
        assert 0.2 < len(words - seen) / len(words) < 0.7
    assert len(own[0] & own[1]) < 0.5 * min(map(len, own))


def test_captions_have_no_open_slot_and_begin_with_a_capital() -> None:
    for annotator in (PLAIN, FINE, CASUAL, QWEN_STATIC, SHIKRA_DYNAMIC):
        for caption in captions_by(annotator):
            assert not SLOT.search(caption.text)
            assert caption.text[0].isupper()
            assert "  " not in caption.text
            assert " a a" not in caption.text
            assert " a umb" not in caption.text


def test_glasses_are_not_described_from_behind() -> None:
    person = replace(WOMAN, glasses="sunglasses")
    style = replace(QWEN_STATIC, mentions=EVERYTHING, thorough=1.0)
    assert "sunglasses" in describe(person, view_of(yaw=0.0), style, random.Random(0)).text
    assert "sunglasses" not in describe(person, view_of(yaw=3.14), style, random.Random(0)).text


def test_mals_labels_follow_the_published_order_and_polarity() -> None:
    class Never(random.Random):
        def random(self) -> float:
            return 0.99

    # woman, adult, long hair, no hat, backpack, no handbag, no bag, long sleeves, short skirt; red over black
    expected = [0, 1, 1, 1, 0, 1, 1, 0, 1, 0] + [1, 1, 0, 1, 1, 1, 1, 1] + [0, 1, 1, 1, 1, 1, 1, 1, 1]
    assert mals_labels(WOMAN, Never()) == expected


def test_synth_attributes_are_six_fields_with_unknown_for_what_is_missing() -> None:
    assert (
        synth_attributes(WOMAN) == "woman,long brown hair,red shirt,black skirt,white boots,yellow backpack"
    )
    bare = replace(WOMAN, bag="none", lower="none", upper="dress")
    assert synth_attributes(bare) == "woman,long brown hair,red dress,unknown,white boots,unknown"
