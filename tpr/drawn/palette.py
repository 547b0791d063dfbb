"""Named colours as RGB, with small shifts per person so that two red shirts are not the same red."""

import random
from collections.abc import Callable

from tpr.drawn.people import Person

Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "black": (34, 34, 40), "white": (236, 235, 230), "grey": (134, 137, 142), "red": (204, 44, 48),
    "maroon": (112, 28, 44), "pink": (240, 152, 178), "orange": (236, 128, 44), "yellow": (240, 206, 66),
    "green": (56, 146, 80), "olive": (104, 110, 62), "teal": (32, 138, 142), "blue": (48, 96, 190),
    "navy": (34, 44, 92), "sky": (146, 192, 232), "purple": (120, 72, 156), "brown": (118, 78, 50),
    "beige": (214, 196, 160),
}  # fmt: skip
HAIR: dict[str, Colour] = {
    "black": (38, 34, 36), "brown": (98, 64, 42), "blonde": (222, 186, 108), "grey": (176, 176, 178),
    "ginger": (176, 84, 40),
}  # fmt: skip
SKIN: tuple[Colour, ...] = (
    (246, 214, 190), (232, 190, 160), (208, 160, 124), (160, 112, 82), (112, 76, 56),
)  # fmt: skip


def shade(colour: Colour, factor: float) -> Colour:
    """The colour darker (factor below one) or lighter."""
    red, green, blue = (min(255, max(0, round(part * factor))) for part in colour)
    return red, green, blue


def blend(first: Colour, second: Colour, share: float) -> Colour:
    """Between two colours; share is that of the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def dyes_of(person: Person) -> Callable[[str], Colour]:
    """The person's own version of each named colour, the same in all of their images."""
    source = random.Random(person.dye)
    own = {
        name: shade(blend(base, (128, 128, 128), source.uniform(0, 0.12)), source.uniform(0.93, 1.07))
        for name, base in COLOURS.items()
    }
    return own.__getitem__
