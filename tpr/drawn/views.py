"""Views: everything about one image that does not depend on who is in it.

A view is drawn from its own randomness, so size, light and background say nothing about the person.
"""

import math
import random
from dataclasses import dataclass

from tpr.drawn.cameras import Camera

OCCLUDERS = ("none", "none", "none", "none", "none", "none", "none", "post", "car", "passer-by", "plant")


@dataclass(frozen=True, slots=True)
class View:
    """One image's pose, place in the frame, light and surroundings."""

    yaw: float
    """Radians; 0 faces the camera, pi shows the back."""
    stride: float
    phase: float
    size: tuple[int, int]
    """Height and width in pixels."""
    shift: tuple[float, float]
    """Sideways and downward offset of the figure, as shares of the frame."""
    zoom: float
    """Height of the figure as a share of the frame."""
    light_side: float
    gains: tuple[float, float, float]
    saturation: float
    gamma: float
    blur: float
    noise: float
    quality: int
    scene: str
    occluder: str
    seed: int
    """Seed of the surroundings and the noise."""
    infrared: bool = False
    """Seen by an infrared camera."""

    @property
    def facing(self) -> str:
        """The side of the person that the camera sees: front, back, left or right."""
        turn = math.cos(self.yaw)
        if turn > 0.6:
            return "front"
        if turn < -0.6:
            return "back"
        return "right" if math.sin(self.yaw) > 0 else "left"


def draw_view(camera: Camera, source: random.Random) -> View:
    """A new view of this camera; all randomness comes from `source`."""
    height = source.randint(*camera.heights)
    light = source.uniform(*camera.light)
    yaw = source.choice((0.0, 0.0, math.pi, math.pi, math.pi / 2, -math.pi / 2)) + source.gauss(0, 0.35)
    red, green, blue = (light * gain * source.uniform(0.97, 1.03) for gain in camera.cast)
    return View(
        yaw=yaw,
        stride=source.choice((0.05, 0.25, 0.4, 0.5)) * source.uniform(0.8, 1.2),
        phase=source.uniform(0, 2 * math.pi),
        size=(height, round(height / source.uniform(*camera.aspects))),
        shift=(source.gauss(0, 0.025), source.gauss(0, 0.012)),
        zoom=source.uniform(0.86, 0.97),
        light_side=source.choice((-1.0, 1.0)) * source.uniform(0.4, 1.0),
        gains=(green, green, green) if camera.infrared else (red, green, blue),
        saturation=source.uniform(*camera.saturation) * (not camera.infrared),
        gamma=source.uniform(*camera.gamma),
        blur=source.uniform(*camera.blur),
        noise=camera.noise,
        quality=source.randint(*camera.quality),
        scene=source.choice(tuple(camera.scenes)),
        occluder=source.choice(OCCLUDERS),
        seed=source.randrange(2**31),
        infrared=camera.infrared,
    )
