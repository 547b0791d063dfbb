"""A brush that draws in body units on a transparent layer."""

import math
from collections.abc import Iterable

from PIL import Image, ImageDraw

from tpr.drawn.palette import Colour

Point = tuple[float, float]


class Brush:
    """Shapes in shares of the body height, y upwards from the ground at `origin` (pixels)."""

    def __init__(self, size: tuple[int, int], origin: Point, scale: float) -> None:
        self.image = Image.new("RGBA", size, (0, 0, 0, 0))
        self.draw = ImageDraw.Draw(self.image)
        self.origin = origin
        self.scale = scale

    def at(self, x: float, y: float) -> Point:
        """A body point in pixels."""
        return self.origin[0] + x * self.scale, self.origin[1] - y * self.scale

    def polygon(self, points: Iterable[Point], colour: Colour) -> None:
        """A filled polygon."""
        self.draw.polygon([self.at(x, y) for x, y in points], fill=colour)

    def ellipse(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        """A filled ellipse; width and height are half axes."""
        left, top = self.at(x - width, y + height)
        right, bottom = self.at(x + width, y - height)
        self.draw.ellipse((left, top, right, bottom), fill=colour)

    def box(
        self, left: float, bottom: float, right: float, top: float, colour: Colour, round_by: float = 0.0
    ) -> None:
        """A filled upright rectangle, with rounded corners if asked."""
        corner, opposite = self.at(left, top), self.at(right, bottom)
        if opposite[0] - corner[0] < 1 or opposite[1] - corner[1] < 1:
            return
        self.draw.rounded_rectangle((*corner, *opposite), round_by * self.scale, fill=colour)

    def line(self, points: Iterable[Point], width: float, colour: Colour) -> None:
        """A line of a width in body units."""
        pixels = [self.at(x, y) for x, y in points]
        self.draw.line(pixels, fill=colour, width=max(1, round(width * self.scale)), joint="curve")

    def limb(self, start: Point, end: Point, first: float, second: float, colour: Colour) -> None:
        """A tapered bar with round ends; first and second are its half widths."""
        (x0, y0), (x1, y1) = start[:2], end[:2]
        length = math.hypot(x1 - x0, y1 - y0) or 1e-6
        across_x, across_y = -(y1 - y0) / length, (x1 - x0) / length
        corners = [
            (x0 + across_x * first, y0 + across_y * first),
            (x1 + across_x * second, y1 + across_y * second),
            (x1 - across_x * second, y1 - across_y * second),
            (x0 - across_x * first, y0 - across_y * first),
        ]
        self.polygon(corners, colour)
        self.ellipse(x0, y0, first, first, colour)
        self.ellipse(x1, y1, second, second, colour)
