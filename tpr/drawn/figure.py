"""The whole figure: legs, lower garment, shoes, torso, arms, head, and what is worn or carried."""

import math
import random

from tpr.drawn.belongings import draw_bag, draw_bag_behind, draw_carried, draw_hat
from tpr.drawn.brush import Brush
from tpr.drawn.garments import draw_arm, draw_torso
from tpr.drawn.palette import HAIR, SKIN, Colour, blend, dyes_of, shade
from tpr.drawn.people import Person
from tpr.drawn.skeleton import Limb, Skeleton

FAR = 0.84


def colours_of(person: Person) -> dict[str, Colour]:
    """RGB of every coloured thing on the person."""
    dye = dyes_of(person)
    names = {
        "upper": person.upper_colour,
        "pattern": person.pattern_colour,
        "inner": person.inner_colour,
        "lower": person.lower_colour,
        "shoes": person.shoe_colour,
        "hat": person.hat_colour,
        "bag": person.bag_colour,
        "scarf": person.scarf_colour,
    }
    colours = {part: dye(name) for part, name in names.items() if name != "none"}
    return colours | {"hair": HAIR[person.hair_colour], "skin": SKIN[person.skin]}


def tones_of(person: Person) -> dict[str, Colour]:
    """Greys of the same things in near-infrared light, which most dyes do not absorb.

    A thing keeps some of its visible brightness; the rest is a matter of its cloth, fixed per person. A
    pattern is fainter than in visible light.
    """
    cloth = random.Random(f"{person.dye}/infrared")
    tones = {}
    for part, colour in sorted(colours_of(person).items()):
        visible = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
        own = 205.0 if part == "skin" else cloth.uniform(60, 230)
        level = round(0.45 * visible + 0.55 * own)
        tones[part] = (level, level, level)
    if "pattern" in tones:
        tones["pattern"] = blend(tones["upper"], tones["pattern"], 0.5)
    return tones


def draw_figure(brush: Brush, person: Person, skeleton: Skeleton, colours: dict[str, Colour]) -> None:
    """Everything from far to near."""
    far_arm, near_arm = skeleton.arms
    if not skeleton.facing_away:
        draw_bag_behind(brush, person, skeleton, colours)
        _draw_back_hair(brush, person, skeleton, colours)
    if abs(skeleton.side) > 0.3:
        draw_arm(brush, far_arm, person, colours, FAR)
    for limb, light in zip(skeleton.legs, (FAR, 1.0), strict=True):
        _draw_leg(brush, limb, person, skeleton, colours, light)
    _draw_lower(brush, person, skeleton, colours)
    brush.limb(
        (skeleton.head[0] * 0.4, 0.82), (skeleton.head[0], 0.88), 0.028, 0.027, shade(colours["skin"], 0.85)
    )
    draw_torso(brush, person, skeleton, colours)
    if abs(skeleton.side) <= 0.3:
        draw_arm(brush, far_arm, person, colours, 0.97)
    _draw_scarf(brush, person, skeleton, colours)
    _draw_head(brush, person, skeleton, colours)
    draw_hat(brush, person, skeleton, colours)
    if skeleton.facing_away:
        _draw_back_hair(brush, person, skeleton, colours)
        draw_bag_behind(brush, person, skeleton, colours)
    draw_bag(brush, person, skeleton, colours)
    draw_arm(brush, near_arm, person, colours, 1.0)
    draw_carried(brush, person, skeleton, colours)


def _draw_leg(
    brush: Brush, limb: Limb, person: Person, skeleton: Skeleton, colours: dict[str, Colour], light: float
) -> None:
    root, knee, ankle = limb.root[:2], limb.middle[:2], limb.end[:2]
    wide = 0.6 + 0.4 * person.build
    skin = shade(colours["skin"], light * 0.97)
    brush.limb(root, knee, 0.044 * wide, 0.03 * wide, skin)
    brush.limb(knee, ankle, 0.03 * wide, 0.018, skin)
    if person.lower in ("trousers", "jeans", "leggings"):
        loose = {"trousers": 1.22, "jeans": 1.08, "leggings": 0.9}[person.lower] * wide
        cloth = shade(colours["lower"], light)
        brush.limb(root, knee, 0.052 * loose, 0.038 * loose, cloth)
        brush.limb(knee, (ankle[0], ankle[1] + 0.012), 0.038 * loose, 0.028 * loose, cloth)
        if person.lower == "jeans":
            brush.line([root, knee, (ankle[0], ankle[1] + 0.02)], 0.004, shade(cloth, 1.3))
    elif person.lower == "shorts":
        stop = (root[0] + (knee[0] - root[0]) * 0.8, root[1] + (knee[1] - root[1]) * 0.8)
        brush.limb(root, stop, 0.056 * wide, 0.05 * wide, shade(colours["lower"], light))
    _draw_shoe(brush, ankle, person, skeleton, colours, light)


def _draw_shoe(
    brush: Brush,
    ankle: tuple[float, float],
    person: Person,
    skeleton: Skeleton,
    colours: dict[str, Colour],
    light: float,
) -> None:
    x, y = ankle
    y -= 0.018
    colour = shade(colours["shoes"], light)
    toe, half = 0.052 * skeleton.side, 0.022 + 0.012 * abs(skeleton.side)
    if person.shoes == "boots":
        brush.limb((x, y + 0.09), (x, y), 0.032, 0.028, colour)
    elif person.shoes == "sandals":
        brush.ellipse(x + toe * 0.5, y - 0.004, half, 0.016, shade(colours["skin"], light))
    if person.shoes == "sandals":
        brush.line([(x - half, y - 0.012), (x + toe * 0.9 + half * 0.4, y - 0.012)], 0.012, colour)
        brush.line([(x - half * 0.3, y + 0.012), (x + toe * 0.5 + half * 0.3, y - 0.006)], 0.01, colour)
        return
    brush.limb((x - toe * 0.15, y + 0.004), (x + toe * 0.75, y - 0.006), half * 0.95, half * 0.72, colour)
    sole = shade(colour, 0.6) if person.shoes != "sneakers" else (232, 232, 228)
    brush.line([(x - half - toe * 0.1, y - 0.022), (x + toe + half * 0.6, y - 0.022)], 0.01, sole)
    if person.shoes == "heels":
        brush.line([(x - toe * 0.4 - 0.004, y), (x - toe * 0.5 - 0.004, y - 0.026)], 0.008, colour)


def _draw_lower(brush: Brush, person: Person, skeleton: Skeleton, colours: dict[str, Colour]) -> None:
    """Hips in trousers, or a skirt."""
    if person.lower == "none":
        return
    colour, hip = colours["lower"], skeleton.hip_width
    waist = skeleton.waist_width
    if person.lower == "skirt":
        hem, flare = 0.295, 1.5
        points = [(-waist, 0.56), (waist, 0.56), (hip * flare, hem), (-hip * flare, hem)]
        brush.polygon(points, colour)
        for share in (-0.5, 0.0, 0.5):
            brush.line([(waist * share, 0.52), (hip * flare * share, hem)], 0.006, shade(colour, 0.82))
        return
    points = [
        (-waist, 0.57),
        (waist, 0.57),
        (hip * 0.98, 0.49),
        (hip * 0.6, 0.445),
        (-hip * 0.6, 0.445),
        (-hip * 0.98, 0.49),
    ]
    brush.polygon(points, colour)
    if abs(skeleton.turn) > 0.4:
        brush.line([(0.0, 0.46), (0.0, 0.40)], 0.006, shade(colour, 0.7))


def _draw_scarf(brush: Brush, person: Person, skeleton: Skeleton, colours: dict[str, Colour]) -> None:
    if person.scarf_colour == "none":
        return
    colour = colours["scarf"]
    brush.ellipse(skeleton.head[0] * 0.6, 0.83, 0.058, 0.026, colour)
    if skeleton.turn > 0:
        brush.limb((0.03 * skeleton.turn, 0.82), (0.035, 0.68), 0.018, 0.022, shade(colour, 0.92))


def _draw_head(brush: Brush, person: Person, skeleton: Skeleton, colours: dict[str, Colour]) -> None:
    x, y = skeleton.head
    size, hair, skin = skeleton.head_size, colours["hair"], colours["skin"]
    if person.hair == "bald":
        brush.ellipse(x, y, size * 0.8, size, skin)
    else:
        puff = 1.08 if person.hair in ("bob", "long") else 1.0
        brush.ellipse(x - skeleton.side * 0.01, y + size * 0.08, size * 0.86 * puff, size * 1.02, hair)
    for ear in (-1, 1):
        if skeleton.turn * 1.2 + ear * skeleton.side > 0.1 and person.hair in (
            "short",
            "bald",
            "ponytail",
            "bun",
        ):
            brush.ellipse(
                x + ear * size * 0.8 * abs(skeleton.turn), y - size * 0.12, 0.011, 0.018, shade(skin, 0.92)
            )
    if skeleton.turn > -0.45:
        _draw_face(brush, person, skeleton, colours)


def _draw_face(brush: Brush, person: Person, skeleton: Skeleton, colours: dict[str, Colour]) -> None:
    size, skin = skeleton.head_size, colours["skin"]
    x, y = skeleton.head[0] + skeleton.side * size * 0.3, skeleton.head[1] - size * 0.16
    width = size * (0.5 + 0.2 * max(0.0, skeleton.turn))
    brush.ellipse(x, y, width, size * 0.82, skin)
    eye = y + size * 0.14
    for sign in (-1, 1):
        angle = math.atan2(skeleton.side, skeleton.turn) + sign * 0.5
        if math.cos(angle) < 0.15:
            continue
        spot = skeleton.head[0] + math.sin(angle) * size * 0.72
        brush.ellipse(spot, eye, 0.007, 0.009, (52, 42, 42))
        brush.line(
            [(spot - 0.011, eye + 0.02), (spot + 0.011, eye + 0.021)], 0.005, shade(colours["hair"], 0.8)
        )
        if person.glasses != "none":
            lens = (30, 30, 34) if person.glasses == "sunglasses" else (96, 100, 108)
            brush.ellipse(spot, eye, 0.02, 0.016, lens)
            if person.glasses == "glasses":
                brush.ellipse(spot, eye, 0.015, 0.0115, shade(skin, 1.06))
                brush.ellipse(spot, eye, 0.006, 0.007, (52, 42, 42))
    mouth = skeleton.head[0] + skeleton.side * size * 0.62
    half = 0.014 * max(0.3, skeleton.turn)
    brush.line([(mouth - half, y - size * 0.42), (mouth + half, y - size * 0.42)], 0.006, shade(skin, 0.7))


def _draw_back_hair(brush: Brush, person: Person, skeleton: Skeleton, colours: dict[str, Colour]) -> None:
    """Hair that hangs or is tied behind the head: before the body from the front, after it from the back."""
    x, y = skeleton.head
    size, hair = skeleton.head_size, shade(colours["hair"], 0.95)
    behind = -skeleton.side * size
    if person.hair == "long":
        brush.limb((x + behind * 0.3, y), (x + behind * 0.75, y - 0.17), size * 0.86, size * 0.66, hair)
    elif person.hair == "bob":
        brush.limb((x + behind * 0.15, y), (x + behind * 0.25, y - 0.055), size * 0.92, size * 0.9, hair)
    elif person.hair == "ponytail":
        brush.limb(
            (x + behind, y + 0.02), (x + behind * 1.5, y - 0.13), size * 0.3, size * 0.2, shade(hair, 0.85)
        )
    elif person.hair == "bun" and person.hat == "none":
        brush.ellipse(x + behind * 0.7, y + size * 0.95, size * 0.42, size * 0.42, shade(hair, 0.88))
