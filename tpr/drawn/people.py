"""A drawn person: a set of attributes, drawn at random and independent of every camera and image."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

Weights = Mapping[str, float]

UPPER_COLOURS: Weights = {
    "black": 15, "white": 12, "grey": 9, "red": 8, "maroon": 4, "pink": 6, "orange": 5, "yellow": 6,
    "green": 6, "olive": 4, "teal": 4, "blue": 8, "navy": 6, "sky": 6, "purple": 5, "brown": 4, "beige": 5,
}  # fmt: skip
LOWER_COLOURS: Weights = {
    "black": 20, "white": 7, "grey": 11, "red": 4, "maroon": 3, "pink": 3, "yellow": 2, "green": 4,
    "olive": 6, "blue": 9, "navy": 10, "sky": 6, "purple": 3, "brown": 8, "beige": 10,
}  # fmt: skip
JEANS_COLOURS: Weights = {"blue": 8, "navy": 6, "sky": 5, "black": 5, "grey": 3}
SHOE_COLOURS: Weights = {
    "black": 9, "white": 9, "grey": 4, "brown": 4, "red": 3, "blue": 2, "yellow": 1, "pink": 1,
}  # fmt: skip
BAG_COLOURS: Weights = {
    "black": 9, "brown": 5, "red": 5, "blue": 4, "grey": 3, "pink": 3, "green": 3, "yellow": 3, "white": 4,
    "purple": 2, "orange": 2, "beige": 3,
}  # fmt: skip
HAT_COLOURS: Weights = {
    "black": 6, "white": 5, "red": 4, "blue": 3, "grey": 2, "yellow": 2, "green": 2, "beige": 3,
}  # fmt: skip
HAIR_COLOURS: Weights = {"black": 10, "brown": 8, "blonde": 4, "grey": 2, "ginger": 2}
HAIR_STYLES: Mapping[str, Weights] = {
    "man": {"short": 16, "bald": 2, "bob": 2, "long": 1},
    "woman": {"long": 8, "ponytail": 5, "bob": 4, "bun": 3, "short": 2},
}
UPPER_KINDS: Mapping[str, Weights] = {
    "man": {"t-shirt": 8, "shirt": 6, "sweater": 4, "hoodie": 4, "jacket": 6, "coat": 3, "vest": 1},
    "woman": {
        "t-shirt": 6,
        "shirt": 5,
        "sweater": 4,
        "hoodie": 2,
        "jacket": 4,
        "coat": 4,
        "vest": 3,
        "dress": 5,
    },
}
LOWER_KINDS: Mapping[str, Weights] = {
    "man": {"trousers": 9, "jeans": 7, "shorts": 6},
    "woman": {"trousers": 5, "jeans": 5, "shorts": 3, "skirt": 7, "leggings": 4},
}
SHOE_KINDS: Mapping[str, Weights] = {
    "man": {"sneakers": 9, "leather shoes": 4, "boots": 3, "sandals": 2},
    "woman": {"sneakers": 7, "boots": 4, "sandals": 3, "heels": 4},
}
BAG_KINDS: Weights = {
    "none": 9, "backpack": 7, "shoulder bag": 6, "handbag": 4, "suitcase": 2, "plastic bag": 2,
}  # fmt: skip
HAT_KINDS: Weights = {"none": 15, "cap": 3, "beanie": 2, "sun hat": 2}
GLASSES_KINDS: Weights = {"none": 14, "glasses": 4, "sunglasses": 2}
CARRIED_KINDS: Weights = {"none": 14, "phone": 2, "umbrella": 1, "book": 1, "bottle": 1}
PATTERNS: Weights = {"plain": 12, "striped": 4, "plaid": 3, "dotted": 2, "printed": 3, "two-tone": 3}
OPEN_FRONTED = ("jacket", "coat")
SLEEVELESS = ("vest", "dress")


@dataclass(frozen=True, slots=True)
class Person:
    """What stays the same over all images of one identity; "none" where a thing is absent."""

    gender: str
    age: str
    build: float
    height: float
    skin: int
    hair: str
    hair_colour: str
    upper: str
    upper_colour: str
    sleeve: str
    pattern: str
    pattern_colour: str
    inner_colour: str
    lower: str
    lower_colour: str
    shoes: str
    shoe_colour: str
    hat: str
    hat_colour: str
    glasses: str
    bag: str
    bag_colour: str
    scarf_colour: str
    carried: str
    dye: int
    """Seed of the small shifts that make two red shirts differ."""


def pick(source: random.Random, weights: Weights) -> str:
    """One key, as often as its weight says."""
    return source.choices(list(weights), weights=list(weights.values()))[0]


def pick_other(source: random.Random, weights: Weights, *taken: str) -> str:
    """One key that is not among those already taken."""
    return pick(source, {key: weight for key, weight in weights.items() if key not in taken})


def draw_person(source: random.Random) -> Person:
    """A new person; all randomness comes from `source`."""
    gender = source.choice(("man", "woman"))
    upper = pick(source, UPPER_KINDS[gender])
    upper_colour = pick(source, UPPER_COLOURS)
    lower = "none" if upper == "dress" else pick(source, LOWER_KINDS[gender])
    pattern = "plain" if upper == "coat" else pick(source, PATTERNS)
    return Person(
        gender=gender,
        age=pick(source, {"child": 1, "young": 8, "adult": 7, "old": 2}),
        build=source.uniform(0.86, 1.16),
        height=source.uniform(0.94, 1.0),
        skin=source.randrange(5),
        hair=pick(source, HAIR_STYLES[gender]),
        hair_colour=pick(source, HAIR_COLOURS),
        upper=upper,
        upper_colour=upper_colour,
        sleeve=draw_sleeve(source, upper),
        pattern=pattern,
        pattern_colour="none" if pattern == "plain" else pick_other(source, UPPER_COLOURS, upper_colour),
        inner_colour=pick_other(source, UPPER_COLOURS, upper_colour) if upper in OPEN_FRONTED else "none",
        lower=lower,
        lower_colour=draw_lower_colour(source, lower),
        shoes=pick(source, SHOE_KINDS[gender]),
        shoe_colour=pick(source, SHOE_COLOURS),
        hat=pick(source, HAT_KINDS),
        hat_colour=pick(source, HAT_COLOURS),
        glasses=pick(source, GLASSES_KINDS),
        bag=pick(source, BAG_KINDS),
        bag_colour=pick(source, BAG_COLOURS),
        scarf_colour=pick(source, BAG_COLOURS) if source.random() < 0.1 else "none",
        carried=pick(source, CARRIED_KINDS),
        dye=source.randrange(2**31),
    )


def draw_sleeve(source: random.Random, upper: str) -> str:
    """Sleeve length that the garment allows."""
    if upper in SLEEVELESS:
        return "none" if upper == "vest" else source.choice(("none", "short", "long"))
    if upper == "t-shirt":
        return "short"
    if upper == "shirt":
        return source.choice(("short", "long"))
    return "long"


def draw_lower_colour(source: random.Random, lower: str) -> str:
    """Colour of the lower garment; denim has fewer."""
    if lower == "none":
        return "none"
    return pick(source, JEANS_COLOURS if lower == "jeans" else LOWER_COLOURS)
