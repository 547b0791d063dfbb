"""Cameras: sizes, colour cast, light, sharpness and surroundings; a few for every drawn dataset."""

from collections.abc import Sequence
from dataclasses import dataclass

OUTDOOR = ("street", "park", "plaza", "crossing", "wall")
INDOOR = ("corridor", "station", "shop")
ANYWHERE = (*OUTDOOR, *INDOOR)


@dataclass(frozen=True, kw_only=True)
class Camera:
    """How one camera sees: sizes in pixels, colour cast, light, sharpness, surroundings."""

    name: str
    heights: tuple[int, int]
    aspects: tuple[float, float] = (2.2, 2.8)
    """Smallest and largest height over width."""
    cast: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Gain of red, green and blue."""
    light: tuple[float, float] = (0.85, 1.12)
    saturation: tuple[float, float] = (0.8, 1.1)
    gamma: tuple[float, float] = (0.9, 1.15)
    blur: tuple[float, float] = (0.0, 0.6)
    """Gaussian radius in 1/128 of the image's height."""
    noise: float = 3.0
    """Standard deviation of the sensor's noise in grey levels."""
    quality: tuple[int, int] = (80, 93)
    """JPEG quality."""
    scenes: Sequence[str] = OUTDOOR
    infrared: bool = False
    """Sees near-infrared light: no colour, and cloth as bright as its dye happens to reflect."""


CUHK = (
    Camera(name="cam_a", heights=(160, 260), cast=(1.08, 1.0, 0.86), scenes=("plaza", "street"), noise=4),
    Camera(
        name="cam_b", heights=(150, 230), cast=(0.9, 1.0, 1.1), light=(0.7, 0.95), scenes=("park", "wall")
    ),
    Camera(name="CUHK01", heights=(160, 200), aspects=(2.5, 2.8), cast=(1.0, 1.06, 0.94), scenes=("plaza",)),
    Camera(name="CUHK03", heights=(180, 300), light=(0.95, 1.2), saturation=(0.6, 0.9), scenes=("corridor",)),
    Camera(name="Market", heights=(128, 128), aspects=(2.0, 2.0), blur=(0.4, 1.0), scenes=("shop", "plaza")),
    Camera(name="test_query", heights=(200, 360), saturation=(0.9, 1.2), scenes=("street", "crossing")),
    Camera(name="train_query", heights=(200, 360), saturation=(0.9, 1.2), scenes=("street", "crossing")),
)
ICFG = (
    Camera(
        name="morning", heights=(220, 400), cast=(1.1, 1.0, 0.84), light=(0.75, 1.0), scenes=("park", "plaza")
    ),
    Camera(
        name="noon", heights=(220, 400), light=(1.1, 1.3), saturation=(0.7, 0.95), scenes=("plaza", "street")
    ),
    Camera(name="afternoon", heights=(200, 380), cast=(1.14, 0.98, 0.8), light=(0.6, 0.85), scenes=OUTDOOR),
    Camera(
        name="indoor", heights=(200, 360), cast=(0.93, 1.06, 0.95), light=(0.7, 0.95), scenes=INDOOR, noise=5
    ),
)
RSTP = (
    Camera(
        name="c1", heights=(250, 400), cast=(0.88, 0.98, 1.16), light=(0.6, 0.85), scenes=("street", "wall")
    ),
    Camera(
        name="c2", heights=(250, 400), cast=(1.05, 1.04, 0.9), saturation=(0.6, 0.85), scenes=("crossing",)
    ),
    Camera(name="c3", heights=(220, 360), light=(0.65, 0.9), blur=(0.4, 1.2), scenes=INDOOR, noise=5),
    Camera(name="c4", heights=(240, 400), light=(1.1, 1.3), saturation=(0.7, 0.9), scenes=("plaza", "park")),
)
WEB = (
    Camera(name="walk", heights=(160, 360), scenes=OUTDOOR),
    Camera(name="city", heights=(140, 320), cast=(1.06, 1.0, 0.92), light=(0.8, 1.25), scenes=OUTDOOR),
    Camera(name="mall", heights=(140, 300), cast=(0.97, 1.03, 0.95), light=(0.75, 1.15), scenes=INDOOR),
    Camera(name="dusk", heights=(150, 320), cast=(0.95, 0.98, 1.08), light=(0.65, 0.95), scenes=OUTDOOR),
    Camera(name="phone", heights=(200, 380), saturation=(0.65, 1.0), blur=(0.2, 1.0), scenes=ANYWHERE),
)
SYSU = {
    1: Camera(name="cam1", heights=(130, 190), cast=(1.06, 1.0, 0.9), scenes=("corridor",)),
    2: Camera(
        name="cam2", heights=(130, 180), cast=(0.92, 1.02, 1.06), light=(0.7, 0.95), scenes=("station",)
    ),
    3: Camera(
        name="cam3", heights=(130, 180), light=(0.75, 1.05), noise=5, scenes=("station",), infrared=True
    ),
    4: Camera(name="cam4", heights=(140, 200), light=(0.95, 1.2), scenes=("plaza", "street")),
    5: Camera(
        name="cam5", heights=(130, 190), cast=(1.08, 0.98, 0.86), blur=(0.2, 0.8), scenes=("park", "wall")
    ),
    6: Camera(
        name="cam6", heights=(130, 190), light=(0.6, 0.9), noise=7, scenes=("park", "plaza"), infrared=True
    ),
}
"""Rooms: 1, and 2 with 3; outdoors: 4 to 6."""
REGDB = (
    Camera(name="visible", heights=(128, 128), aspects=(2.0, 2.0), scenes=OUTDOOR),
    Camera(
        name="thermal", heights=(128, 128), aspects=(2.0, 2.0), blur=(0.5, 1.2), scenes=OUTDOOR, infrared=True
    ),
)
LLCM = {
    number: Camera(
        name=f"cam{number}",
        heights=(130, 190),
        cast=(1 + 0.03 * (number % 3 - 1), 1.0, 1 - 0.03 * (number % 3 - 1)),
        light=(0.45, 0.75),
        noise=6,
        scenes=ANYWHERE[(number - 1) % len(ANYWHERE) :][:2],
    )
    for number in range(1, 10)
}
"""Nine places in low light; the infrared cameras there see the same scenes by their own lamp."""
MARKET = {
    number: Camera(
        name=f"c{number}",
        heights=(128, 128),
        aspects=(2.0, 2.0),
        cast=(1 + 0.04 * (number % 3 - 1), 1.0, 1 - 0.05 * (number % 2)),
        light=(0.75 + 0.04 * number, 1.0 + 0.04 * number),
        blur=(0.2, 0.9),
        scenes=OUTDOOR[(number - 1) % len(OUTDOOR) :][:2],
    )
    for number in range(1, 7)
}
"""Six cameras before one shop and its plaza; every crop has one size."""
DIFFUSION = (
    Camera(
        name="generated",
        heights=(300, 400),
        aspects=(2.4, 2.7),
        saturation=(1.0, 1.3),
        blur=(0.0, 0.2),
        noise=1.5,
        scenes=ANYWHERE,
    ),
)
