"""Surroundings, painted small and enlarged: cheap, and out of focus as behind a person they should be."""

import random
from collections.abc import Callable

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Painter = Callable[[ImageDraw.ImageDraw, random.Random, int, int], None]
REDUCTION = 4


def paint_scene(name: str, source: random.Random, size: tuple[int, int]) -> Image.Image:
    """The named scene at (width, height) pixels."""
    width, height = size[0] // REDUCTION + 1, size[1] // REDUCTION + 1
    image = Image.new("RGB", (width, height), (160, 160, 155))
    SCENES[name](ImageDraw.Draw(image), source, width, height)
    return image.resize(size, Image.Resampling.BICUBIC)


def tone(source: random.Random, base: Colour, spread: int = 18) -> Colour:
    """A colour near `base`, lighter or darker and slightly off."""
    common = source.randint(-spread, spread)
    red, green, blue = (min(255, max(0, part + common + source.randint(-6, 6))) for part in base)
    return red, green, blue


def paint_street(draw: ImageDraw.ImageDraw, source: random.Random, width: int, height: int) -> None:
    """Houses with windows, a shop front here and there, pavement and kerb."""
    ground = round(height * source.uniform(0.62, 0.78))
    x = -source.randint(0, width // 3)
    while x < width:
        house = source.randint(width // 3, width)
        colour = tone(
            source, source.choice(((178, 160, 140), (150, 150, 158), (190, 178, 160), (140, 110, 95)))
        )
        draw.rectangle((x, 0, x + house, ground), fill=colour)
        pane = tone(source, (95, 112, 130))
        step = source.randint(9, 14)
        for top in range(source.randint(-4, 6), ground - step, step):
            for left in range(x + 3, x + house - 5, source.randint(8, 10)):
                draw.rectangle((left, top, left + 4, top + step // 2), fill=pane)
        x += house + 1
    pave(draw, source, width, height, ground, (150, 148, 144))


def pave(
    draw: ImageDraw.ImageDraw, source: random.Random, width: int, height: int, top: int, base: Colour
) -> None:
    """Ground from `top` down, with a few lines that run towards the viewer."""
    colour = tone(source, base)
    draw.rectangle((0, top, width, height), fill=colour)
    dark = tuple(max(0, part - 22) for part in colour)
    draw.line((0, top, width, top), fill=dark, width=1)
    middle = source.uniform(0.2, 0.8) * width
    for _ in range(source.randint(2, 4)):
        foot = source.uniform(-0.5, 1.5) * width
        draw.line((middle + (foot - middle) * 0.3, top, foot, height), fill=dark, width=1)


def paint_park(draw: ImageDraw.ImageDraw, source: random.Random, width: int, height: int) -> None:
    """Sky, trees, grass and a path."""
    horizon = round(height * source.uniform(0.4, 0.6))
    draw.rectangle((0, 0, width, horizon), fill=tone(source, (176, 202, 222)))
    for _ in range(source.randint(4, 8)):
        x, y = source.uniform(-0.1, 1.1) * width, source.uniform(0.05, 0.85) * horizon
        radius = source.uniform(0.15, 0.4) * width
        draw.line((x, y, x, horizon + 3), fill=(92, 74, 58), width=2)
        draw.ellipse(
            (x - radius, y - radius, x + radius, y + radius * 0.8), fill=tone(source, (84, 124, 70), 24)
        )
    draw.rectangle((0, horizon, width, height), fill=tone(source, (124, 154, 88)))
    left, right = source.uniform(-0.6, 0.2) * width, source.uniform(0.8, 1.7) * width
    middle = source.uniform(0.2, 0.8) * width
    path = [(middle - 2, horizon), (middle + 2, horizon), (right, height), (left, height)]
    draw.polygon(path, fill=tone(source, (190, 178, 152)))


def paint_plaza(draw: ImageDraw.ImageDraw, source: random.Random, width: int, height: int) -> None:
    """A wide paved square with low houses or hedges behind."""
    horizon = round(height * source.uniform(0.25, 0.5))
    draw.rectangle((0, 0, width, horizon), fill=tone(source, (196, 208, 216)))
    roof = horizon - source.randint(4, horizon // 2)
    behind = source.choice(((150, 142, 136), (98, 128, 88), (176, 158, 142)))
    draw.rectangle((0, roof, width, horizon), fill=tone(source, behind))
    pave(
        draw,
        source,
        width,
        height,
        horizon,
        source.choice(((176, 170, 160), (158, 158, 160), (186, 168, 150))),
    )
    line = tone(source, (140, 136, 130))
    gap, y = 3.0, float(horizon)
    while y < height:
        draw.line((0, y, width, y), fill=line, width=1)
        y, gap = y + gap, gap * 1.45


def paint_crossing(draw: ImageDraw.ImageDraw, source: random.Random, width: int, height: int) -> None:
    """Asphalt with white bars, cars waiting behind."""
    horizon = round(height * source.uniform(0.3, 0.45))
    draw.rectangle((0, 0, width, horizon), fill=tone(source, (142, 142, 150)))
    draw.rectangle((0, horizon, width, height), fill=tone(source, (96, 98, 104)))
    for _ in range(2):
        x = source.uniform(-0.4, 0.8) * width
        body = tone(source, source.choice(((150, 40, 40), (220, 220, 222), (40, 60, 110), (60, 60, 64))))
        draw.rounded_rectangle((x, horizon - 12, x + 30, horizon + 3), 3, fill=body)
        draw.rectangle((x + 6, horizon - 17, x + 24, horizon - 11), fill=(70, 84, 98))
    bar = height // 16
    for y in range(horizon + 8, height, 2 * bar):
        draw.rectangle((0, y, width, y + bar), fill=tone(source, (206, 206, 202), 8))


def paint_wall(draw: ImageDraw.ImageDraw, source: random.Random, width: int, height: int) -> None:
    """Bricks or plaster above a pavement."""
    ground = round(height * source.uniform(0.7, 0.85))
    base = tone(source, source.choice(((158, 106, 86), (186, 176, 160), (142, 146, 150))))
    draw.rectangle((0, 0, width, ground), fill=base)
    joint = tuple(min(255, part + 20) for part in base)
    course = source.randint(4, 6)
    for row, y in enumerate(range(0, ground, course)):
        draw.line((0, y, width, y), fill=joint, width=1)
        for x in range((row % 2) * course, width, 2 * course):
            draw.line((x, y, x, y + course), fill=joint, width=1)
    pave(draw, source, width, height, ground, (144, 142, 140))


def paint_corridor(draw: ImageDraw.ImageDraw, source: random.Random, width: int, height: int) -> None:
    """Light walls with a door, a skirting board, a shining floor."""
    ground = round(height * source.uniform(0.62, 0.75))
    draw.rectangle((0, 0, width, ground), fill=tone(source, (208, 206, 198)))
    door = round(source.uniform(-0.2, 0.9) * width)
    draw.rectangle((door, height // 6, door + width // 2, ground), fill=tone(source, (150, 122, 92)))
    draw.rectangle(
        (door + width // 2 - 4, height // 3, door + width // 2 - 3, height // 3 + 3), fill=(70, 70, 70)
    )
    draw.rectangle((0, ground - 2, width, ground), fill=(120, 118, 114))
    pave(draw, source, width, height, ground, (172, 168, 160))


def paint_station(draw: ImageDraw.ImageDraw, source: random.Random, width: int, height: int) -> None:
    """Pillars, a lit panel, tiles."""
    ground = round(height * source.uniform(0.58, 0.7))
    draw.rectangle((0, 0, width, ground), fill=tone(source, (130, 138, 144)))
    left = round(source.uniform(-0.1, 0.4) * width)
    panel = tone(source, source.choice(((90, 140, 190), (210, 190, 120), (190, 100, 90))))
    draw.rectangle((left, height // 8, left + width // 2, height // 3), fill=panel)
    for _ in range(2):
        x = source.uniform(0, 1) * width
        draw.rectangle((x, 0, x + width / 7, ground), fill=tone(source, (182, 184, 184)))
    pave(draw, source, width, height, ground, (150, 152, 154))


def paint_shop(draw: ImageDraw.ImageDraw, source: random.Random, width: int, height: int) -> None:
    """A window full of coloured goods under a sign."""
    ground = round(height * source.uniform(0.68, 0.8))
    draw.rectangle((0, 0, width, ground), fill=tone(source, (96, 92, 92)))
    sign = tone(source, source.choice(((180, 60, 50), (50, 100, 150), (220, 180, 70), (70, 130, 90))))
    draw.rectangle((0, height // 12, width, height // 5), fill=sign)
    draw.rectangle((2, height // 4, width - 3, ground - 3), fill=tone(source, (196, 200, 196)))
    for _ in range(source.randint(10, 18)):
        x, y = source.uniform(0, 1) * width, source.uniform(0.28, 0.9) * ground
        goods = tone(source, source.choice(((190, 90, 80), (90, 120, 170), (200, 180, 110), (110, 150, 110))))
        draw.rectangle((x, y, x + source.randint(3, 7), y + source.randint(4, 9)), fill=goods)
    pave(draw, source, width, height, ground, (156, 152, 148))


SCENES: dict[str, Painter] = {
    "street": paint_street,
    "park": paint_park,
    "plaza": paint_plaza,
    "crossing": paint_crossing,
    "wall": paint_wall,
    "corridor": paint_corridor,
    "station": paint_station,
    "shop": paint_shop,
}
