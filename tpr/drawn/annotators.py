"""Annotators: which details they mention, in which words and in which sentences.

Slots of a sentence: [S] the person, [P] he or she, [p] his or her, [U] upper garment, [L] lower garment,
[C] both, [F] shoes, [H] hair, [A] hat, glasses and scarf, [B] bag and thing in the hand, [V] action and view.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from tpr.drawn.vocabulary import Dialect

Mentions = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Annotator:
    """One style of describing people."""

    dialect: Dialect
    own_words: float
    """Share of phrases taken from the dialect's own words instead of the shared ones."""
    mentions: Mentions
    """Share of images in which a visible detail is mentioned."""
    sentences: Sequence[str]
    endings: Mapping[str, Sequence[str]]
    """Slot -> sentences that may follow when the detail has not been said yet."""
    thorough: float
    """Share of the remaining details that get such a sentence."""
    determiners: Sequence[str] = ("A", "The", "This")
    ages: float = 0.15
    """Share of captions that give an age."""
    wrong_words: float = 0.0
    """Share of attribute phrases that name another value."""
    defects: float = 0.0
    """Share of captions with an unfilled slot or mark-up."""
    sees_colours: bool = True
    """False for one who looks at infrared images: no colour is ever named."""


PLAIN_MENTIONS: Mentions = {
    "H": 0.45, "U": 0.98, "L": 0.93, "F": 0.6, "A": 0.6, "B": 0.85, "V": 0.15, "pattern": 0.75, "sleeve": 0.3,
}  # fmt: skip
FINE_MENTIONS: Mentions = {
    "H": 0.85, "U": 1.0, "L": 0.98, "F": 0.88, "A": 0.85, "B": 0.92, "V": 0.45, "pattern": 0.95,
    "sleeve": 0.85,
}  # fmt: skip
CASUAL_MENTIONS: Mentions = {
    "H": 0.6, "U": 0.97, "L": 0.92, "F": 0.65, "A": 0.7, "B": 0.88, "V": 0.6, "pattern": 0.8, "sleeve": 0.25,
}  # fmt: skip
PLAIN = Annotator(
    dialect="plain",
    own_words=0.18,
    mentions=PLAIN_MENTIONS,
    sentences=(
        "[S] is wearing [U] and [L].",
        "[S] is wearing [U], [L] and [F].",
        "[S] has [H] and is wearing [U] and [L].",
        "[S] wears [C] with [F].",
        "[S] wears [C] and [A].",
        "[S] with [H] is dressed in [C].",
        "[S] has on [U], [L] and [F].",
        "[S] is walking in [C] and [F].",
        "[S] is dressed in [C] and is carrying [B].",
        "[S] is clad in [U] and is seen [V].",
        "[S] wears [U].",
        "[S] has [L] on.",
        "[S] is walking.",
    ),
    endings={
        "H": ("[P] has [H].", "[p] hair style is [H]."),
        "F": ("[P] is also wearing [F].", "[P] has [F] on [p] feet."),
        "A": ("[P] has on [A].", "[P] is also wearing [A]."),
        "B": ("[P] is carrying [B].", "[P] carries [B] with [p] body.", "[P] also holds [B]."),
        "V": ("[P] is [V].",),
    },
    thorough=0.85,
)
FINE = Annotator(
    dialect="fine",
    own_words=0.18,
    mentions=FINE_MENTIONS,
    determiners=("A", "The"),
    ages=0.5,
    sentences=(
        "[S] with [H] is wearing [U] on the upper body, and [p] lower body is covered by [L].",
        "[S] with [H] is in [U], matched with [L], and walks in [F].",
        "[S] having [H] appears in [U] together with [L].",
        "In this image, [S] is dressed in [C], and the feet are in [F].",
        "[S] has [C] on, and the feet wear [F].",
        "[S] appears in [U] as well as [L], taking along [B].",
        "[S] in [A] is covered by [U], paired with [L].",
        "[S] appears in [C].",
        "[S] is covered by [U].",
        "[S] appears in the image.",
    ),
    endings={
        "H": ("In addition, [p] hairstyle is [H].", "The head shows [H]."),
        "F": ("Besides, [P] is stepping in [F].", "The feet are covered by [F]."),
        "A": ("[P] is also equipped with [A].", "[P] puts on [A] as an accessory."),
        "B": ("[P] is taking along [B] as well.", "In the meantime, [P] is equipped with [B]."),
        "V": ("[P] is seen [V].", "The whole body is seen [V]."),
    },
    thorough=0.75,
)
CASUAL = Annotator(
    dialect="casual",
    own_words=0.18,
    mentions=CASUAL_MENTIONS,
    determiners=("A", "This"),
    ages=0.3,
    sentences=(
        "[S] who has [H], in [C] and [F]",
        "[S] in [C] was [V] with [B]",
        "[S] rocking [U] plus [L]",
        "[S] rocking [U] plus [L] and [F]",
        "it was [S] with [H] in [C]",
        "it was [S] in [C] going around with [B]",
        "[S] got [C] on and [A] too",
        "[S] got [C] on",
        "[S] got [U] on",
        "[S] got [L] on",
        "[S] was on the road",
    ),
    endings={
        "H": (", hair is [H]", ", got [H]"),
        "F": (", [p] shoes were [F]", ", [p] feet in [F]"),
        "A": (", [A] too", ", got [A]"),
        "B": (", also got [B]", ", there was [B] with [p] body"),
        "V": (", was [V]", ", [P] was [V] on the road"),
    },
    thorough=0.85,
)

MACHINE_MENTIONS: dict[str, float] = {
    "H": 0.7, "U": 1.0, "L": 0.97, "F": 0.7, "A": 0.75, "B": 0.9, "V": 0.1, "pattern": 0.7, "sleeve": 0.35,
}  # fmt: skip
MACHINE_ENDINGS = {
    "H": ("[P] has [H].", "[P] sports [H]."),
    "F": ("[P] is also wearing [F].",),
    "A": ("[P] is also wearing [A].", "[P] has [A]."),
    "B": ("[P] is carrying [B].", "[P] also has [B]."),
    "V": ("[P] is [V].",),
}
QWEN_STATIC = Annotator(
    dialect="shared",
    own_words=0.0,
    mentions=MACHINE_MENTIONS,
    determiners=("The", "The", "A"),
    sentences=(
        "[S] in the image has [H] and is wearing [U] with [L].",
        "[S] in the image is wearing [U] and [L], paired with [F].",
        "[S] is wearing [C].",
        "[S] is wearing [C] and carrying [B].",
        "[S] is wearing [C] and has [H].",
        "[S] is wearing [U].",
        "[S] is visible in the image.",
    ),
    endings=MACHINE_ENDINGS,
    thorough=0.85,
)
SHIKRA_STATIC = Annotator(
    dialect="shared",
    own_words=0.0,
    mentions=MACHINE_MENTIONS | {"H": 0.5, "F": 0.5, "sleeve": 0.2},
    determiners=("A", "A", "The"),
    sentences=(
        "[S] with [H] in [U], [L] and [F].",
        "[S] wearing [C] and [A], carrying [B].",
        "[S] wearing [C] and [F], carrying [B].",
        "[S] wearing [C] with [H].",
        "[S] wearing [C] and [A].",
        "[S] wearing [C].",
        "[S] wearing [U].",
        "[S] on the street.",
    ),
    endings=MACHINE_ENDINGS,
    thorough=0.4,
)


def dynamic_sentences(verbs: Sequence[str]) -> tuple[str, ...]:
    """Templates as an LLM varies them: worn things in every order, hair first or left for the end."""
    sentences = []
    for number, order in enumerate(permutations("CFA")):
        first, second, third = (f"[{slot}]" for slot in order)
        verb = verbs[number % len(verbs)]
        sentences += [
            f"[S] {verb} {first}, {second} and {third}, also carrying [B].",
            f"With [H], [S] {verb} {first}, {second} and {third}.",
            f"Sporting [H], [S] {verb} {first} and {second}.",
        ]
    sentences += [
        "In [C] and [F], [S] also has [B].",
        "Wearing [C], [S] has [H] and [B].",
        "Carrying [B], [S] is dressed in [C] and [F].",
        "Carrying [B], [S] is dressed in [C].",
        "With [A], [S] has [H] and is wearing [C].",
        "Dressed in [U] with [L], [S] can be spotted.",
        "Wearing [C], [S] has [H].",
        "Dressed in [U], [S] can be seen.",
        "[S] can be seen.",
    ]
    return tuple(sentences)


QWEN_DYNAMIC = Annotator(
    dialect="shared",
    own_words=0.0,
    mentions=MACHINE_MENTIONS,
    determiners=("The", "A"),
    sentences=dynamic_sentences(("is seen wearing", "is dressed in", "is attired in")),
    endings=MACHINE_ENDINGS,
    thorough=0.7,
)
SHIKRA_DYNAMIC = Annotator(
    dialect="shared",
    own_words=0.0,
    mentions=MACHINE_MENTIONS | {"F": 0.5},
    determiners=("A",),
    sentences=dynamic_sentences(("can be seen wearing", "is wearing", "is spotted in")),
    endings=MACHINE_ENDINGS,
    thorough=0.5,
)

BLIP = Annotator(
    dialect="shared",
    own_words=0.0,
    mentions={
        "H": 0.1,
        "U": 0.97,
        "L": 0.85,
        "F": 0.15,
        "A": 0.5,
        "B": 0.6,
        "V": 0.5,
        "pattern": 0.5,
        "sleeve": 0.05,
    },
    determiners=("a",),
    ages=0.1,
    wrong_words=0.05,
    sentences=(
        "[S] in [C] with [B] and [A]",
        "[S] in [C] with [A] in front of a wall",
        "[S] in [C] with [B] on a street",
        "[S] in [C] is [V] on a street",
        "[S] wearing [C] with [F] on a sidewalk",
        "[S] with [H] standing in [C]",
        "[S] in [C] standing with the hands on the hips",
        "[S] walking down a street in [U]",
        "[S] standing on a sidewalk",
    ),
    endings={},
    thorough=0.0,
)
TEMPLATE = Annotator(
    dialect="shared",
    own_words=0.0,
    mentions={
        "H": 1.0,
        "U": 1.0,
        "L": 1.0,
        "F": 1.0,
        "A": 1.0,
        "B": 1.0,
        "V": 0.0,
        "pattern": 0.0,
        "sleeve": 0.0,
    },
    ages=0.0,
    wrong_words=0.05,
    sentences=(
        "[S] with [H] is wearing [U], [L] and [F].",
        "[S] with [H] is wearing [C] and [F].",
        "[S] with [H] is wearing [U].",
    ),
    endings={"F": ("[P] wears [F].",), "A": ("[P] has [A].",), "B": ("[P] carries [B].",)},
    thorough=1.0,
)
