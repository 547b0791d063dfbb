"""Hats, bags and small things in the hand."""

from tpr.drawn.brush import Brush
from tpr.drawn.palette import Colour, shade
from tpr.drawn.people import Person
from tpr.drawn.skeleton import Skeleton

Colours = dict[str, Colour]


def draw_hat(brush: Brush, person: Person, skeleton: Skeleton, colours: Colours) -> None:
    """Cap, beanie or sun hat on the head."""
    if person.hat == "none":
        return
    x, y, size, colour = *skeleton.head, skeleton.head_size, colours["hat"]
    rim = y + size * 0.32
    crown = [
        (x + size * across, rim + size * up)
        for across, up in ((-0.92, 0), (-0.84, 0.5), (-0.45, 0.86), (0, 0.95))
    ]
    crown += [(2 * x - across, up) for across, up in reversed(crown)]
    brush.polygon(crown, colour)
    if person.hat == "cap":
        tip = x + size * (0.3 + 1.15 * abs(skeleton.side)) * (1 if skeleton.side >= 0 else -1)
        if skeleton.turn > -0.5:
            start, end = sorted(
                (x - size * 0.72 * abs(skeleton.turn), tip if abs(skeleton.side) > 0.3 else x + size * 0.72)
            )
            brush.box(start, rim - size * 0.2, end, rim + size * 0.06, shade(colour, 0.72), size * 0.12)
    elif person.hat == "beanie":
        brush.box(
            x - size * 0.96,
            rim - size * 0.1,
            x + size * 0.96,
            rim + size * 0.2,
            shade(colour, 0.82),
            size * 0.1,
        )
        brush.ellipse(x, rim + size * 1.02, size * 0.2, size * 0.2, shade(colour, 1.15))
    else:
        brush.ellipse(x, rim, size * 1.55, size * 0.26, shade(colour, 0.92))
        brush.box(x - size * 0.88, rim, x + size * 0.88, rim + size * 0.2, shade(colour, 0.6))


def draw_bag_behind(brush: Brush, person: Person, skeleton: Skeleton, colours: Colours) -> None:
    """A backpack: a rim beside the body from the front, the whole of it from the back or the side."""
    if person.bag != "backpack":
        return
    colour = colours["bag"]
    middle = -skeleton.side * (skeleton.shoulder_width + 0.05)
    half = 0.088 * abs(skeleton.turn) + 0.062 * abs(skeleton.side)
    if skeleton.turn > 0.3 and abs(skeleton.side) < 0.4:
        half = skeleton.shoulder_width * 1.12
    brush.box(middle - half, 0.55, middle + half, 0.80, colour, 0.035)
    if skeleton.turn < 0.3:
        brush.box(middle - half * 0.72, 0.565, middle + half * 0.72, 0.655, shade(colour, 0.8), 0.02)
        brush.line([(middle - half * 0.8, 0.71), (middle + half * 0.8, 0.71)], 0.006, shade(colour, 0.65))


def draw_bag(brush: Brush, person: Person, skeleton: Skeleton, colours: Colours) -> None:
    """Straps of a backpack and every other bag."""
    if person.bag == "none":
        return
    colour = colours["bag"]
    if person.bag == "backpack" and skeleton.turn > 0.25:
        for sign in (-1, 1):
            x = sign * skeleton.shoulder_width * 0.62 + skeleton.side * 0.02
            brush.line([(x * 0.9, 0.822), (x, 0.75), (x * 1.12, 0.64)], 0.024, shade(colour, 0.85))
    elif person.bag == "shoulder bag":
        _draw_shoulder_bag(brush, skeleton, colour)
    elif person.bag in ("handbag", "plastic bag"):
        _draw_hand_bag(brush, person, skeleton, colour)
    elif person.bag == "suitcase":
        hand_x, hand_y, _ = skeleton.arms[0].end
        x = hand_x - skeleton.side * 0.06 + (0.05 if hand_x >= 0 else -0.05)
        brush.line([(hand_x, hand_y), (x, 0.3)], 0.012, (70, 72, 76))
        brush.box(x - 0.085, 0.03, x + 0.085, 0.31, colour, 0.02)
        for share in (-0.4, 0.4):
            brush.line([(x + 0.085 * share, 0.05), (x + 0.085 * share, 0.29)], 0.007, shade(colour, 0.75))
        brush.ellipse(x - 0.06, 0.02, 0.014, 0.014, (44, 44, 46))
        brush.ellipse(x + 0.06, 0.02, 0.014, 0.014, (44, 44, 46))


def _draw_shoulder_bag(brush: Brush, skeleton: Skeleton, colour: Colour) -> None:
    hip = 0.125 * skeleton.turn
    x = hip - skeleton.side * 0.02
    shoulder = -skeleton.shoulder_width * 0.55 * (1 if skeleton.turn >= 0 else -1)
    brush.line([(shoulder, 0.825), (x * 0.8, 0.55)], 0.014, shade(colour, 0.8))
    brush.box(x - 0.068, 0.40, x + 0.068, 0.535, colour, 0.02)
    brush.box(x - 0.068, 0.475, x + 0.068, 0.535, shade(colour, 0.82), 0.02)
    brush.ellipse(x, 0.472, 0.008, 0.008, (214, 190, 110))


def _draw_hand_bag(brush: Brush, person: Person, skeleton: Skeleton, colour: Colour) -> None:
    x, y, _ = skeleton.arms[1].end
    if person.bag == "handbag":
        brush.line(
            [(x - 0.04, y - 0.09), (x - 0.02, y - 0.005), (x + 0.02, y - 0.005), (x + 0.04, y - 0.09)],
            0.01,
            shade(colour, 0.7),
        )
        brush.box(x - 0.07, y - 0.185, x + 0.07, y - 0.075, colour, 0.018)
        brush.box(x - 0.07, y - 0.105, x + 0.07, y - 0.075, shade(colour, 0.84), 0.012)
        return
    brush.polygon([(x - 0.015, y), (x + 0.015, y), (x + 0.07, y - 0.19), (x - 0.07, y - 0.19)], colour)
    brush.line([(x, y - 0.02), (x - 0.03, y - 0.17)], 0.005, shade(colour, 0.84))


def draw_carried(brush: Brush, person: Person, skeleton: Skeleton, colours: Colours) -> None:
    """A phone, book, bottle or umbrella in the hand; the far one where a bag has the near one."""
    if person.carried == "none":
        return
    x, y, _ = skeleton.arms[0 if person.bag in ("handbag", "plastic bag") else 1].end
    if person.carried == "phone":
        brush.box(x - 0.012, y - 0.012, x + 0.012, y + 0.036, (30, 32, 38), 0.004)
    elif person.carried == "book":
        brush.box(x - 0.03, y - 0.045, x + 0.03, y + 0.035, (150, 60, 54), 0.003)
        brush.box(x - 0.02, y - 0.002, x + 0.02, y + 0.02, (236, 230, 214))
    elif person.carried == "bottle":
        brush.box(x - 0.013, y - 0.04, x + 0.013, y + 0.03, (120, 180, 216), 0.008)
        brush.box(x - 0.007, y + 0.03, x + 0.007, y + 0.044, (236, 236, 236))
    else:
        brush.limb((x, y + 0.03), (x + 0.02, y - 0.26), 0.007, 0.004, (84, 56, 40))
        brush.limb((x, y - 0.02), (x + 0.018, y - 0.24), 0.022, 0.006, (64, 70, 112))
