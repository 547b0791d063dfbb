"""Captions: an annotator's choice of details, put into a sentence, word by word with its truth."""

import random
import re
from dataclasses import dataclass

from tpr.drawn.annotators import Annotator
from tpr.drawn.people import Person
from tpr.drawn.phrases import Piece, Speaker
from tpr.drawn.views import View

SLOT = re.compile(r"\[([A-Za-z])\]")
ALWAYS = frozenset("SPp")
SLOT_NAMES = {
    "C": "clothing",
    "U": "clothing",
    "L": "clothing",
    "F": "footwear",
    "H": "hair",
    "A": "accessory",
    "B": "belongings",
}
MARKUP = ("<box>(112,64),(388,902)</box>", "<ref>the person</ref>", "<ph_st><ph_ed>")


@dataclass(frozen=True, slots=True)
class DrawnCaption:
    """A caption with the positions (in `text.split()`) of attribute words and of those that are wrong."""

    text: str
    attribute_words: tuple[int, ...]
    wrong_words: tuple[int, ...]
    defect: str | None
    """None, "slot" (an unfilled slot) or "markup"."""


def describe(person: Person, view: View, annotator: Annotator, source: random.Random) -> DrawnCaption:
    """One caption of the image; all randomness comes from `source`."""
    speaker = Speaker(person, view, annotator, source)
    details = speaker.details()
    sentence = _choose_sentences(annotator, details, source)
    defect = source.choice(("slot", "markup")) if source.random() < annotator.defects else None
    slots = [slot for slot in SLOT.findall(sentence) if slot in SLOT_NAMES]
    unfilled = source.choice(slots) if defect == "slot" and slots else None
    if defect == "slot" and unfilled is None:
        defect = "markup"
    pieces: list[Piece] = []
    for part, text in enumerate(SLOT.split(sentence)):
        if part % 2 == 0:
            pieces.append(Piece(text))
        elif text == unfilled:
            pieces.append(Piece(f"[{SLOT_NAMES[text]} description]"))
            unfilled = None
        else:
            pieces += details[text] if text in details else speaker.subject(text)
    if defect == "markup":
        pieces.append(Piece(" " + source.choice(MARKUP)))
    return _join(pieces, defect)


def _choose_sentences(annotator: Annotator, details: dict[str, list[Piece]], source: random.Random) -> str:
    """A sentence whose slots can all be filled, rather one that says more, then some of what is left."""
    known = ALWAYS | details.keys()
    options = [sentence for sentence in annotator.sentences if known.issuperset(SLOT.findall(sentence))]
    said = [len(set(SLOT.findall(sentence)) - ALWAYS) + ("[C]" in sentence) for sentence in options]
    text = source.choices(options, weights=[4.0**count if count else 1e-3 for count in said])[0]
    rest = [slot for slot in annotator.endings if slot in details and f"[{slot}]" not in text]
    source.shuffle(rest)
    for slot in rest:
        if source.random() < annotator.thorough:
            ending = source.choice(annotator.endings[slot])
            text += ending if ending.startswith(",") else f" {ending}"
    return text


def _join(pieces: list[Piece], defect: str | None) -> DrawnCaption:
    """The text, with capitals at sentence starts, and the numbers of its marked words."""
    text = ""
    attribute: set[int] = set()
    wrong: set[int] = set()
    for piece in pieces:
        if piece.is_attribute:
            first = len(text.split()) - (not text[-1:].isspace() and text != "")
            span = range(first, first + len(piece.text.split()))
            attribute.update(span)
            if piece.is_wrong:
                wrong.update(span)
        text += piece.text
    text = re.sub(r"(^|[.] )([a-z])", lambda match: match[1] + match[2].upper(), text)
    return DrawnCaption(text, tuple(sorted(attribute)), tuple(sorted(wrong)), defect)
