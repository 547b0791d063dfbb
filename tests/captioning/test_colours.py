"""Colours are found as whole words and leave nothing behind."""

import re

import pytest

from tpr.captioning.colours import WORDS, find_colours, remove_colours
from tpr.captioning.filters import FilterOptions, find_fault
from tpr.drawn.layouts import PLANNERS

OFFICIAL = [
    ("Her black shoes are a matching sky blue red.", "Her shoes are a matching."),
    # Differs: the official filter loses the comma before "shirt".
    (
        "a man in a dark blue jacket, white shirt and grey, black pants.",
        "a man in a jacket, shirt and pants.",
    ),
    ("She has half-red and half-white shoes.", "She has shoes."),
]
OWN = [
    # The official filter keeps "Black", and leaves "and-white" of the second.
    ("Black shoes and an orange jacket.", "Shoes and a jacket."),
    ("A red-and-white umbrella, a white shirt.", "An umbrella, a shirt."),
    ("The shirt is red and the trousers are black.", "The shirt and the trousers."),
    ("He is dressed in black.", "He is dressed."),
    ("a red-striped shirt", "a striped shirt"),
    ("a shirt in black and white", "a shirt"),
    ("wearing a red, torn shirt", "wearing a torn shirt"),
    ("with black and striped trousers", "with striped trousers"),
    ("a black and a white bag", "a bag"),
    ("shoes that are white and grey, and a green bag.", "shoes, and a bag."),
    ("A man in a light-blue coat and dark trousers.", "A man in a coat and trousers."),
    ("a coffee-colored coat and off-white trainers", "a coat and trainers"),
    ("The woman wears a red coloured dress.", "The woman wears a dress."),
    ("a bag red in colour", "a bag"),
]


@pytest.mark.parametrize(("text", "wanted"), OFFICIAL + OWN)
def test_colours_go_with_what_they_leave_behind(text: str, wanted: str) -> None:
    assert remove_colours(text) == wanted
    assert find_colours(text) and not find_colours(wanted)


@pytest.mark.parametrize(
    "text", ["The redwood table and the goldfish.", "a light jacket ,  untidy  text", "A covered bag.", ""]
)
def test_a_text_without_colours_is_left_as_it_is(text: str) -> None:
    assert not find_colours(text)
    assert remove_colours(text) == text


@pytest.mark.parametrize("word", WORDS.split())
def test_every_word_is_found_in_any_case(word: str) -> None:
    assert find_colours(f"His {word.upper()} coat.") == [word]
    assert remove_colours(f"His {word} coat.") == "His coat."


def test_neighbours_are_one_and_the_longest_wins() -> None:
    assert find_colours("a Sky-Blue coat, a navy blue and  white cap") == ["sky-blue", "navy blue and white"]


def test_drawn_captions_lose_their_colours_and_nothing_else() -> None:
    (records,) = PLANNERS["icfg_pedes"](10, 0).files.values()
    captions = {caption for record in records for caption in record["captions"]}
    assert sum(bool(find_colours(caption)) for caption in captions) > 80
    for caption in captions:
        text = remove_colours(caption)
        assert not find_colours(text), text
        assert not re.search(r"  | [.,;]|,[.,;]|\band and\b|\ban? [.,]|\b(and|with|in|of)[.,]", text), text
        left, before = (set(re.findall(r"[a-z]+", words.lower())) for words in (text, caption))
        assert left - {"a", "an"} <= before


@pytest.mark.parametrize(("colours", "fault"), [("keep", None), ("refuse", "names a colour")])
def test_captions_that_name_a_colour_can_be_refused(colours: str, fault: str | None) -> None:
    text = "The man with short hair is wearing a white shirt and a long coat."
    assert find_fault(text, FilterOptions(colours=colours)) == fault
    assert find_fault(remove_colours(text), FilterOptions(colours=colours)) is None
