"""Attribute labels in the published codes of MALS and SYNTH-PEDES."""

import random

from tpr.drawn.people import Person

COLOUR_GROUPS = {
    "black": "black", "white": "white", "red": "red", "maroon": "red", "purple": "purple", "yellow": "yellow",
    "blue": "blue", "navy": "blue", "sky": "blue", "green": "green", "olive": "green", "teal": "green",
    "grey": "gray", "pink": "pink", "brown": "brown", "beige": "brown",
}  # fmt: skip
MALS_UPPER = ("black", "white", "red", "purple", "yellow", "blue", "green", "gray")
MALS_LOWER = ("black", "white", "purple", "yellow", "blue", "green", "pink", "gray", "brown")
UNKNOWN = -1


def mals_labels(person: Person, source: random.Random) -> list[int]:
    """27 labels in MALS' order; 0 says "has it" for things and colours; one in ten is unknown."""
    is_dressed = person.lower == "none"
    lower_colour = person.upper_colour if is_dressed else person.lower_colour
    labels = [
        int(person.gender == "man"),
        int(person.age != "child"),
        int(person.hair in ("long", "ponytail")),
        int(person.hat == "none"),
        int(person.bag != "backpack"),
        int(person.bag != "handbag"),
        int(person.bag not in ("shoulder bag", "plastic bag", "suitcase")),
        int(person.sleeve != "long"),
        int(is_dressed or person.lower in ("shorts", "skirt")),
        int(not is_dressed and person.lower != "skirt"),
        *(int(COLOUR_GROUPS.get(person.upper_colour) != colour) for colour in MALS_UPPER),
        *(int(COLOUR_GROUPS.get(lower_colour) != colour) for colour in MALS_LOWER),
    ]
    return [UNKNOWN if source.random() < 0.1 else label for label in labels]


def synth_attributes(person: Person) -> str:
    """Six fields apart by commas: person, head, upper body, lower body, shoes, belongings."""
    style = {"bald": "bald head", "bob": "bobbed", "bun": "bun"}.get(person.hair, person.hair)
    head = style if person.hair == "bald" else f"{style} {person.hair_colour} hair"
    lower = "unknown" if person.lower == "none" else f"{person.lower_colour} {person.lower}"
    bag = "unknown" if person.bag == "none" else f"{person.bag_colour} {person.bag}"
    upper, shoes = f"{person.upper_colour} {person.upper}", f"{person.shoe_colour} {person.shoes}"
    return ",".join((person.gender, head, upper, lower, shoes, bag))
