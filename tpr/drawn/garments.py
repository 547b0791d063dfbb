"""Garments of the upper body: outline, pattern, front opening, sleeves."""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

from tpr.drawn.brush import Brush
from tpr.drawn.palette import SKIN, Colour, shade
from tpr.drawn.people import Person
from tpr.drawn.skeleton import Limb, Skeleton

HEMS = {
    "t-shirt": 0.465, "shirt": 0.455, "sweater": 0.46, "hoodie": 0.45, "jacket": 0.45, "coat": 0.285,
    "vest": 0.47, "dress": 0.29,
}  # fmt: skip
SLEEVE_WIDTHS = {"coat": 1.3, "hoodie": 1.28, "jacket": 1.24, "sweater": 1.18}


@dataclass(frozen=True, slots=True)
class Outline:
    """Half widths of the torso at falling heights; the figure's middle is x = 0."""

    heights: tuple[float, ...]
    widths: tuple[float, ...]

    def width(self, height: float) -> float:
        """Half width at this height, between the rows that are given."""
        falling = [-value for value in self.heights]
        after = min(max(bisect_left(falling, -height), 1), len(falling) - 1)
        top, bottom = self.heights[after - 1], self.heights[after]
        share = min(1.0, max(0.0, (top - height) / (top - bottom)))
        return self.widths[after - 1] * (1 - share) + self.widths[after] * share

    def band(
        self, brush: Brush, top: float, bottom: float, colour: Colour, *, left: float = -1, right: float = 1
    ) -> None:
        """A strip of the torso from top to bottom, between shares of the half width."""
        inner = [height for height in self.heights if bottom < height < top]
        rows = [top, *inner, bottom]
        edge = [(self.width(row) * right, row) for row in rows]
        back = [(self.width(row) * left, row) for row in reversed(rows)]
        brush.polygon([*edge, *back], colour)


def outline_of(person: Person, skeleton: Skeleton) -> Outline:
    """The torso in its upper garment."""
    loose = 1.12 if person.upper in ("coat", "hoodie", "jacket") else 1.05
    flare = {"coat": 1.22, "dress": 1.55}.get(person.upper, 1.04)
    waist = 0.92 if person.upper == "dress" else 1.0
    shoulder, hip = skeleton.shoulder_width, skeleton.hip_width
    return Outline(
        heights=(0.842, 0.826, 0.808, 0.78, 0.70, 0.60, 0.50, HEMS[person.upper]),
        widths=(
            0.03,
            shoulder * 0.56,
            shoulder * 0.88,
            shoulder * 1.03,
            shoulder * 0.93 * loose,
            skeleton.waist_width * 1.06 * loose * waist,
            hip * 1.0 * loose,
            hip * loose * flare,
        ),
    )


def draw_torso(brush: Brush, person: Person, skeleton: Skeleton, colours: dict[str, Colour]) -> None:
    """The upper garment without its sleeves."""
    outline = outline_of(person, skeleton)
    colour, hem = colours["upper"], HEMS[person.upper]
    top = 0.775 if person.upper == "vest" else 0.84
    if top < 0.84:
        outline.band(brush, 0.84, top, SKIN[person.skin])
        for side in (-0.62, 0.62):
            outline.band(brush, 0.82, top, colour, left=side - 0.12, right=side + 0.12)
    outline.band(brush, top, hem, colour)
    if person.pattern != "plain":
        cloth = Cloth(outline, top, hem, colour, colours["pattern"])
        PATTERN_PAINTERS[person.pattern](brush, cloth, skeleton)
    if person.upper == "dress":
        outline.band(brush, 0.605, 0.585, shade(colour, 0.75))
    outline.band(brush, hem + 0.012, hem, shade(colour, 0.8))
    _draw_front(brush, outline, person, skeleton, colours)


@dataclass(frozen=True, slots=True)
class Cloth:
    """A stretch of the torso that a pattern fills."""

    outline: Outline
    top: float
    hem: float
    first: Colour
    second: Colour


def _draw_stripes(brush: Brush, cloth: Cloth, skeleton: Skeleton) -> None:
    for row in range(12):
        height = 0.79 - 0.055 * row
        if cloth.hem + 0.03 < height < cloth.top:
            cloth.outline.band(brush, height, height - 0.026, cloth.second)


def _draw_plaid(brush: Brush, cloth: Cloth, skeleton: Skeleton) -> None:
    for column in (-0.8, -0.4, 0.0, 0.4, 0.8):
        left, right = column - 0.07, column + 0.07
        cloth.outline.band(brush, min(cloth.top, 0.80), cloth.hem, cloth.second, left=left, right=right)
    for row in range(12):
        height = 0.785 - 0.048 * row
        if cloth.hem + 0.01 < height < cloth.top:
            cloth.outline.band(brush, height, height - 0.014, shade(cloth.second, 1.0 if row % 2 else 0.72))


def _draw_dots(brush: Brush, cloth: Cloth, skeleton: Skeleton) -> None:
    for row in range(11):
        height = 0.785 - 0.045 * row
        if not cloth.hem + 0.015 < height < cloth.top - 0.01:
            continue
        for column in (-0.75, -0.25, 0.25, 0.75) if row % 2 == 0 else (-0.5, 0.0, 0.5):
            brush.ellipse(column * cloth.outline.width(height), height, 0.0115, 0.0115, cloth.second)


def _draw_two_tone(brush: Brush, cloth: Cloth, skeleton: Skeleton) -> None:
    cloth.outline.band(brush, cloth.top, 0.675, cloth.second)


def _draw_print(brush: Brush, cloth: Cloth, skeleton: Skeleton) -> None:
    middle, size = skeleton.side * 0.05, 0.05 * max(0.35, abs(skeleton.turn))
    brush.box(middle - size, 0.635, middle + size, 0.735, cloth.second, 0.015)
    brush.ellipse(middle, 0.685, size * 0.55, 0.026, cloth.first)


PATTERN_PAINTERS: dict[str, Callable[[Brush, Cloth, Skeleton], None]] = {
    "striped": _draw_stripes,
    "plaid": _draw_plaid,
    "dotted": _draw_dots,
    "two-tone": _draw_two_tone,
    "printed": _draw_print,
}


def _draw_front(
    brush: Brush, outline: Outline, person: Person, skeleton: Skeleton, colours: dict[str, Colour]
) -> None:
    """Collar, zip, buttons, hood or the shirt under an open coat."""
    colour = colours["upper"]
    if skeleton.turn < 0.15:
        if person.upper == "hoodie":
            brush.ellipse(-0.02 * skeleton.side, 0.80, 0.062, 0.04, shade(colour, 0.82))
        return
    middle = 0.55 * skeleton.side
    if person.upper in ("jacket", "coat"):
        half = 0.30 * skeleton.turn
        outline.band(
            brush, 0.83, HEMS[person.upper] + 0.02, colours["inner"], left=middle - half, right=middle + half
        )
        for edge in (middle - half, middle + half):
            outline.band(
                brush, 0.82, HEMS[person.upper], shade(colour, 0.78), left=edge - 0.05, right=edge + 0.05
            )
    elif person.upper == "shirt":
        outline.band(brush, 0.82, 0.46, shade(colour, 0.82), left=middle - 0.035, right=middle + 0.035)
        for sign in (-1, 1):
            tip = skeleton.side * 0.05 + sign * 0.045 * skeleton.turn
            brush.polygon([(skeleton.side * 0.04, 0.80), (tip, 0.845), (tip, 0.80)], shade(colour, 0.9))
    elif person.upper == "hoodie":
        brush.ellipse(skeleton.side * 0.03, 0.828, 0.055, 0.026, shade(colour, 0.78))
        outline.band(brush, 0.56, 0.49, shade(colour, 0.86), left=middle - 0.55, right=middle + 0.55)
    elif person.upper != "dress":
        brush.ellipse(skeleton.side * 0.04, 0.834, 0.036, 0.02, SKIN[person.skin])


def draw_arm(brush: Brush, limb: Limb, person: Person, colours: dict[str, Colour], light: float) -> None:
    """One arm with its sleeve; `light` darkens the far one."""
    skin, cloth = shade(SKIN[person.skin], light), shade(colours["upper"], light * 0.94)
    if person.pattern == "two-tone":
        cloth = shade(colours["pattern"], light * 0.94)
    thick = 0.029 * (0.6 + 0.4 * person.build) * SLEEVE_WIDTHS.get(person.upper, 1.08)
    root, middle, end = limb.root[:2], limb.middle[:2], limb.end[:2]
    brush.limb(root, middle, 0.026, 0.022, skin)
    brush.limb(middle, end, 0.022, 0.017, skin)
    brush.ellipse(*end, 0.021, 0.021, skin)
    if person.sleeve == "long":
        wrist = (middle[0] + (end[0] - middle[0]) * 0.86, middle[1] + (end[1] - middle[1]) * 0.86)
        brush.limb(root, middle, thick * 1.05, thick * 0.95, cloth)
        brush.limb(middle, wrist, thick * 0.95, thick * 0.82, cloth)
    elif person.sleeve == "short":
        share = 0.72
        stop = (root[0] + (middle[0] - root[0]) * share, root[1] + (middle[1] - root[1]) * share)
        brush.limb(root, stop, thick * 1.08, thick * 1.05, cloth)
