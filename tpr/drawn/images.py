"""From a person and a view to the bytes of a JPEG file."""

import io
import random
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from tpr.drawn.brush import Brush
from tpr.drawn.figure import colours_of, draw_figure, tones_of
from tpr.drawn.people import Person
from tpr.drawn.scenes import paint_scene
from tpr.drawn.skeleton import build_skeleton
from tpr.drawn.views import View

CANVAS_HEIGHTS = (256, 448)
"""Smallest and largest canvas; between them the figure is drawn half as large again as it is needed."""
NOISE_SIDE = 1024
FORMATS = {".jpg": "JPEG", ".bmp": "BMP"}


def draw_image(person: Person, view: View, suffix: str = ".jpg") -> bytes:
    """One file of the kind that the suffix names; the same person and view give the same bytes."""
    height, width = view.size
    source = random.Random(view.seed)
    canvas = draw_canvas(person, view, source)
    image = finish(canvas.resize((width, height), Image.Resampling.HAMMING), view, source)
    buffer = io.BytesIO()
    image.save(buffer, FORMATS[suffix], quality=view.quality)
    return buffer.getvalue()


def draw_canvas(person: Person, view: View, source: random.Random) -> Image.Image:
    """The scene with the figure in it, before the camera."""
    height, width = view.size
    canvas_height = min(max(round(1.5 * height), CANVAS_HEIGHTS[0]), CANVAS_HEIGHTS[1])
    size = (max(8, round(canvas_height * width / height)), canvas_height)
    image = paint_scene(view.scene, source, size)
    if view.occluder == "passer-by":
        _draw_passer_by(image, source)
    scale = canvas_height * view.zoom * person.height
    ground = canvas_height * (0.985 + view.shift[1])
    skeleton = build_skeleton(person, view)
    brush = Brush(size, (size[0] * (0.5 + view.shift[0]), ground + skeleton.lift * scale), scale)
    draw_figure(brush, person, skeleton, tones_of(person) if view.infrared else colours_of(person))
    _draw_shadow(image, brush, view)
    _round_off(brush, view)
    image.paste(brush.image, (0, 0), brush.image)
    _draw_occluder(image, view.occluder, source)
    return image


def _draw_shadow(image: Image.Image, brush: Brush, view: View) -> None:
    """A soft dark ellipse on the ground, away from the light."""
    small = Image.new("L", (image.width // 4, image.height // 4), 0)
    x, y = brush.origin[0] / 4, min(brush.origin[1] / 4, small.height - 2.0)
    reach = 0.16 * brush.scale / 4
    middle = x - view.light_side * reach * 0.5
    ImageDraw.Draw(small).ellipse(
        (middle - reach * 1.2, y - reach * 0.3, middle + reach * 1.2, y + reach * 0.18), fill=120
    )
    mask = small.filter(ImageFilter.BoxBlur(2)).resize(image.size, Image.Resampling.BILINEAR)
    image.paste((28, 28, 34), (0, 0), mask)


def _round_off(brush: Brush, view: View) -> None:
    """Darken the figure towards its edges, more on the side away from the light: it looks round."""
    layer = brush.image
    alpha = layer.getchannel("A")
    small = alpha.resize((layer.width // 4, layer.height // 4), Image.Resampling.BOX)
    blurred = small.filter(ImageFilter.BoxBlur(layer.height / 128))
    blurred = ImageChops.offset(blurred, round(view.light_side * layer.height / 200), 1)
    light = blurred.point([round(142 + 0.47 * value) for value in range(256)])
    light = light.resize(layer.size, Image.Resampling.BILINEAR)
    rounded = ImageChops.multiply(layer.convert("RGB"), Image.merge("RGB", (light, light, light)))
    rounded.putalpha(alpha)
    brush.image = rounded


def _draw_passer_by(image: Image.Image, source: random.Random) -> None:
    """A dim stranger at the edge, behind the person."""
    draw = ImageDraw.Draw(image)
    width, height = image.size
    x = source.choice((0.04, 0.96)) * width
    tone = source.randint(60, 150)
    top, reach = height * source.uniform(0.1, 0.25), width * 0.14
    coat = (tone, tone - source.randint(0, 30), tone - source.randint(0, 30))
    draw.rounded_rectangle((x - reach, top + height * 0.12, x + reach, height * 0.55), reach * 0.6, fill=coat)
    draw.rectangle((x - reach * 0.7, height * 0.5, x + reach * 0.7, height * 0.92), fill=(tone // 2,) * 3)
    draw.ellipse((x - reach * 0.5, top, x + reach * 0.5, top + height * 0.13), fill=(170, 140, 120))


def _draw_occluder(image: Image.Image, kind: str, source: random.Random) -> None:
    """Something between camera and person that hides a part."""
    draw = ImageDraw.Draw(image)
    width, height = image.size
    if kind == "post":
        x = source.uniform(0.1, 0.9) * width
        draw.rectangle((x - width * 0.05, 0, x + width * 0.05, height), fill=(92, 96, 100))
        draw.rectangle((x + width * 0.02, 0, x + width * 0.05, height), fill=(72, 76, 80))
    elif kind == "car":
        top = height * source.uniform(0.74, 0.88)
        colour = source.choice(((150, 44, 44), (216, 216, 218), (48, 64, 108), (52, 54, 58), (150, 154, 158)))
        draw.rounded_rectangle((-width * 0.2, top, width * 1.2, height * 1.2), width * 0.16, fill=colour)
        draw.line(
            (0, top + height * 0.04, width, top + height * 0.04),
            fill=tuple(part // 2 for part in colour),
            width=4,
        )
    elif kind == "plant":
        side = source.choice((0.0, 1.0))
        for _ in range(16):
            x = (side + source.gauss(0, 0.13)) * width
            y, size = source.uniform(0.72, 1.02) * height, source.uniform(0.06, 0.12) * width
            green = source.randint(84, 134)
            draw.ellipse((x - size, y - size, x + size, y + size), fill=(green - 44, green, green - 56))


def finish(image: Image.Image, view: View, source: random.Random) -> Image.Image:
    """What the camera makes of the scene: colour cast, or none in infrared light, and light, blur, noise."""
    if view.blur > 0.05:
        image = image.filter(ImageFilter.GaussianBlur(view.blur * image.height / 128))
    grey = (0.299, 0.587, 0.114)
    matrix: list[float] = []
    for channel, gain in enumerate(view.gains):
        row = [
            gain * ((1 - view.saturation) * part + (view.saturation if i == channel else 0))
            for i, part in enumerate(grey)
        ]
        matrix += [*row, 0.0]
    image = image.convert("RGB", tuple(matrix))
    curve = [round(255 * (value / 255) ** view.gamma) for value in range(256)]
    image = image.point(curve * 3)
    left = source.randrange(NOISE_SIDE - image.width)
    top = source.randrange(NOISE_SIDE - image.height)
    noise = noise_field()[top : top + image.height, left : left + image.width, None]
    pixels = np.asarray(image, dtype=np.float32) + noise * np.float32(view.noise)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@cache
def noise_field() -> npt.NDArray[np.float32]:
    """A square of standard normal noise, cut from at a random place for each image."""
    return np.random.default_rng(0).standard_normal((NOISE_SIDE, NOISE_SIDE), dtype=np.float32)
