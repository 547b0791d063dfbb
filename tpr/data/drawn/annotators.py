"""Annotators: which details they mention, in which words and in which sentences.

Slots of a sentence: [S] the person, [P] he or she, [p] his or her, [U] upper garment, [L] lower garment,
[C] both, [F] shoes, [H] hair, [A] hat, glasses and scarf, [B] bag and what is in the hand, [V] action and view.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from tpr.data.drawn.vocabulary import Dialect

Mentions = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Annotator:
    """One style of describing people."""

    dialect: Dialect
    own_words: float
    """Share of phrases taken from the dialect's own words instead of the shared ones."""
    mentions: Mentions
    """Share of pictures in which a visible detail is mentioned."""
    sentences: Sequence[str]
    determiners: Sequence[str] = ("A", "The", "This")
    ages: float = 0.15
    """Share of captions that give an age."""
    wrong_words: float = 0.0
    """Share of attribute phrases that name another value."""
    defects: float = 0.0
    """Share of captions with an unfilled slot or mark-up."""


PLAIN = Annotator(
    dialect="plain",
    own_words=0.45,
    mentions={"H": 0.45, "U": 0.98, "L": 0.93, "F": 0.6, "A": 0.6, "B": 0.85, "V": 0.15, "pattern": 0.75, "sleeve": 0.3},
    sentences=(
        "[S] is wearing [U] and [L]. [P] is also wearing [F] and carrying [B].",
        "[S] is wearing [U] and [L]. [P] has [H] and is carrying [B].",
        "[S] has [H] and is wearing [U]. [P] also has on [L] and [F].",
        "[S] wears [C] with [F]. [P] has [A] and [H].",
        "[S] wears [C] with [F]. [P] carries [B] [V].",
        "[S] with [H] is dressed in [C]. [P] has on [A] and holds [B].",
        "[S] has on [U], [L] and [F]. [P] is carrying [B].",
        "[S] has on [U], [L] and [F]. [P] is wearing [A].",
        "[S] is walking in [C] and [F]. [p] hair style is [H].",
        "[S] is dressed in [C]. [P] wears [F].",
        "[S] is dressed in [C]. [P] has [B] with [p] body.",
        "[S] is dressed in [C]. [P] is seen [V].",
        "[S] wears [U]. [P] also wears [L].",
        "[S] is clad in [U]. [P] is [V].",
        "[S] has [L] on and [F].",
        "[S] is walking.",
    ),
)
FINE = Annotator(
    dialect="fine",
    own_words=0.45,
    mentions={"H": 0.85, "U": 1.0, "L": 0.98, "F": 0.88, "A": 0.85, "B": 0.92, "V": 0.45, "pattern": 0.95, "sleeve": 0.85},
    determiners=("A", "The"),
    ages=0.5,
    sentences=(
        "[S] with [H] is wearing [U] on the upper body, and [p] lower body is covered by [L]. [P] has [F] on [p] feet, "
        "wears [A] and carries [B].",
        "[S] with [H] is wearing [U] on the upper body, and [p] lower body is covered by [L]. [P] is stepping in [F], "
        "taking along [B].",
        "[S] with [H] is in [U], matched with [L], and walks in [F]. In addition, [P] is equipped with [A].",
        "[S] having [H] appears in [U] together with [L]. The feet are covered by [F]. [P] is seen [V].",
        "In this picture, [S] is dressed in [C], and the feet are in [F]. [P] has [H] and takes along [B], [V].",
        "In this picture, [S] is dressed in [C], and the feet are in [F]. [p] hairstyle is [H].",
        "[S] has [C] on. The feet wear [F], and besides [P] takes along [B] and wears [A].",
        "[S] has [C] on. The feet wear [F], and besides [P] takes along [B].",
        "[S] has [C] on and wears [A]. The hairstyle is [H].",
        "[S] appears in [U] as well as [L], taking along [B], and is seen [V].",
        "[S] appears in [U] as well as [L], with [H].",
        "[S] appears in [U], and [p] hairstyle is [H].",
        "[S] appears in [C] with [F] on the feet.",
        "[S] appears in [C].",
        "[S] appears in [U].",
        "[S] appears in the picture.",
    ),
)
CASUAL = Annotator(
    dialect="casual",
    own_words=0.45,
    mentions={"H": 0.6, "U": 0.97, "L": 0.92, "F": 0.65, "A": 0.7, "B": 0.88, "V": 0.6, "pattern": 0.8, "sleeve": 0.25},
    determiners=("A", "This"),
    ages=0.3,
    sentences=(
        "[S] who has [H], in [C] and [F], was [V] with [B]",
        "[S] in [C] was [V], [p] shoes were [F] and there was [B] with [p] body.",
        "[S] rocking [U] plus [L], [F], also got [B] and [A]",
        "[S] rocking [U] plus [L], [F], with [H]",
        "it was [S] with [H] in [C], going around with [B].",
        "it was [S] with [H] in [C], [p] feet in [F], [V].",
        "[S] got [C] on with [F], and [A] too, was [V].",
        "[S] got [C] on with [F], was [V]",
        "[S] got [C] on, hair is [H]",
        "[S] got [C] on, going around with [B]",
        "[S] got [U] on, was [V]",
        "[S] got [L] on with [F]",
        "[S] got [C] on",
        "[S] got [U] on",
        "[S] was on the road",
    ),
)

MACHINE_MENTIONS: Mentions = {
    "H": 0.7, "U": 1.0, "L": 0.97, "F": 0.7, "A": 0.75, "B": 0.9, "V": 0.1, "pattern": 0.7, "sleeve": 0.35,
}  # fmt: skip
QWEN_STATIC = Annotator(
    dialect="shared",
    own_words=0.0,
    mentions=MACHINE_MENTIONS,
    determiners=("The", "The", "A"),
    sentences=(
        "[S] in the image has [H] and is wearing [U] with [L]. [P] is also wearing [F] and carrying [B].",
        "[S] in the image has [H] and is wearing [U] with [L]. [P] is also wearing [A].",
        "[S] in the image is wearing [U] and [L], paired with [F]. [P] has [H].",
        "[S] in the image is wearing [U] and [L], paired with [F]. [P] is carrying [B].",
        "[S] is wearing [C]. [P] has [H] and is carrying [B].",
        "[S] is wearing [C]. [P] has [A] and [F].",
        "[S] is wearing [C] and has [H].",
        "[S] is wearing [C].",
        "[S] is wearing [U].",
        "[S] is visible in the image.",
    ),
)
SHIKRA_STATIC = Annotator(
    dialect="shared",
    own_words=0.0,
    mentions=MACHINE_MENTIONS | {"H": 0.5, "F": 0.5, "sleeve": 0.2},
    determiners=("A", "A", "The"),
    sentences=(
        "[S] with [H] in [U], [L] and [F] with [B].",
        "[S] with [H] in [U], [L] and [F].",
        "[S] wearing [C] and [A], carrying [B].",
        "[S] wearing [C] and [F], carrying [B].",
        "[S] wearing [C] with [H].",
        "[S] wearing [C] and [A].",
        "[S] wearing [C] and [F].",
        "[S] wearing [C].",
        "[S] wearing [U].",
        "[S] on the street.",
    ),
)


def dynamic_sentences(verbs: Sequence[str]) -> tuple[str, ...]:
    """Templates as an LLM varies them: worn things in every order, hair first or last, one or two sentences."""
    sentences = []
    for number, order in enumerate(permutations("CFA")):
        first, second, third = (f"[{slot}]" for slot in order)
        verb = verbs[number % len(verbs)]
        sentences += [
            f"[S] {verb} {first}, {second} and {third}, also carrying [B]. [P] has [H].",
            f"With [H], [S] {verb} {first}, {second} and {third}, along with [B].",
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
)
SHIKRA_DYNAMIC = Annotator(
    dialect="shared",
    own_words=0.0,
    mentions=MACHINE_MENTIONS | {"F": 0.5},
    determiners=("A",),
    sentences=dynamic_sentences(("can be seen wearing", "is wearing", "is spotted in")),
)

BLIP = Annotator(
    dialect="shared",
    own_words=0.0,
    mentions={"H": 0.1, "U": 0.97, "L": 0.85, "F": 0.15, "A": 0.5, "B": 0.6, "V": 0.5, "pattern": 0.5, "sleeve": 0.05},
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
)
TEMPLATE = Annotator(
    dialect="shared",
    own_words=0.0,
    mentions={"H": 1.0, "U": 1.0, "L": 1.0, "F": 1.0, "A": 1.0, "B": 1.0, "V": 0.0, "pattern": 0.0, "sleeve": 0.0},
    ages=0.0,
    wrong_words=0.05,
    sentences=(
        "[S] is wearing [U], [L] and [F]. [P] has [H] and [B].",
        "[S] is wearing [U], [L] and [F]. [P] has [H].",
        "[S] is wearing [C]. [P] has [H].",
        "[S] is wearing [C] and [F].",
        "[S] is wearing [U].",
    ),
)
