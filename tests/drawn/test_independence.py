"""Nothing but the person tells who it is: size, camera, name and background are drawn apart from identity."""

import io
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.marks import slow_except
from tpr.drawn.benchmarks import CUHK_PEDES, ICFG_PEDES, RSTPREID, Benchmark, plan_benchmark
from tpr.drawn.images import draw_image
from tpr.drawn.infrared import plan_llcm, plan_regdb, plan_sysu_mm01
from tpr.drawn.layouts import PLANNERS
from tpr.drawn.plan import Plan, Shot

BENCHMARKS = (CUHK_PEDES, ICFG_PEDES, RSTPREID)
NAMES = [benchmark.name for benchmark in BENCHMARKS]
Features = npt.NDArray[np.float64]


def nearest_neighbour_rate(features: Features, identity: npt.NDArray[np.int64]) -> float:
    """Share of images whose nearest other image shows the same person."""
    features = (features - features.mean(0)) / (features.std(0) + 1e-9)
    distance = ((features[:, None] - features[None]) ** 2).sum(-1)
    np.fill_diagonal(distance, np.inf)
    return float((identity[distance.argmin(1)] == identity).mean())


def chance_of(identity: npt.NDArray[np.int64]) -> float:
    """Share of other images that show the same person."""
    same = identity[:, None] == identity[None]
    return float((same.sum() - len(identity)) / (len(identity) * (len(identity) - 1)))


def mean_colours(pixels: Features, boxes: Sequence[tuple[float, float, float, float]]) -> Features:
    """Mean colour within boxes (left, top, right, bottom as shares)."""
    height, width, _ = pixels.shape
    parts = [
        pixels[int(top * height) : int(bottom * height), int(left * width) : int(right * width)].mean((0, 1))
        for left, top, right, bottom in boxes
    ]
    return np.concatenate(parts)


CORNERS = ((0.0, 0.0, 0.2, 0.1), (0.8, 0.0, 1.0, 0.1), (0.0, 0.0, 0.1, 0.3), (0.9, 0.0, 1.0, 0.3))
BODY = ((0.42, 0.25, 0.58, 0.42), (0.42, 0.56, 0.58, 0.68))


@pytest.fixture(scope="module")
def drawn() -> tuple[list[Shot], list[Features]]:
    shots = list(plan_benchmark(ICFG_PEDES, 25, seed=0).shots)
    images = [Image.open(io.BytesIO(draw_image(shot.person, shot.view))) for shot in shots]
    return shots, [np.asarray(image, dtype=np.float64) for image in images]


@pytest.mark.slow
def test_background_alone_scores_chance(drawn: tuple[list[Shot], list[Features]]) -> None:
    shots, images = drawn
    identity = np.array([shot.identity for shot in shots])
    features = np.stack([mean_colours(pixels, CORNERS) for pixels in images])
    chance = chance_of(identity)
    spread = (chance * (1 - chance) / len(identity)) ** 0.5
    assert nearest_neighbour_rate(features, identity) < chance + 4 * spread


@pytest.mark.slow
def test_clothes_score_far_above_chance_so_the_control_can_fail(
    drawn: tuple[list[Shot], list[Features]],
) -> None:
    shots, images = drawn
    identity = np.array([shot.identity for shot in shots])
    features = np.stack([mean_colours(pixels, BODY) for pixels in images])
    assert nearest_neighbour_rate(features, identity) > 6 * chance_of(identity)


@pytest.fixture(scope="module")
def both_kinds() -> tuple[list[Shot], list[Features]]:
    shots = [shot for shot in plan_sysu_mm01(12, seed=0).shots if not shot.path.endswith("7.jpg")]
    images = [Image.open(io.BytesIO(draw_image(shot.person, shot.view))) for shot in shots]
    return shots, [np.asarray(image, dtype=np.float64) for image in images]


@pytest.mark.slow
@pytest.mark.parametrize("infrared", [False, True])
def test_background_alone_scores_chance_in_visible_and_in_infrared_light(
    both_kinds: tuple[list[Shot], list[Features]], infrared: bool
) -> None:
    found = [
        (shot, pixels) for shot, pixels in zip(*both_kinds, strict=True) if shot.view.infrared == infrared
    ]
    identity = np.array([shot.identity for shot, _ in found])
    chance = chance_of(identity)
    spread = (chance * (1 - chance) / len(identity)) ** 0.5
    rate = {
        name: nearest_neighbour_rate(np.stack([mean_colours(pixels, part) for _, pixels in found]), identity)
        for name, part in (("corners", CORNERS), ("body", BODY))
    }
    assert rate["corners"] < chance + 4 * spread
    assert rate["body"] > chance + 4 * spread


@cache
def plan_shots(name: str) -> Sequence[Shot]:
    """The images of a set in its default size."""
    return PLANNERS[name](110, 0).shots


@pytest.mark.parametrize("name", slow_except(NAMES, [*NAMES, "sysu_mm01"]))
def test_size_scene_and_camera_do_not_depend_on_identity(name: str) -> None:
    shots = plan_shots(name)
    identity = np.array([shot.identity for shot in shots])
    same = identity[:, None] == identity[None]
    np.fill_diagonal(same, False)
    for values in (
        [s.camera for s in shots],
        [s.view.scene for s in shots],
        [s.view.occluder for s in shots],
    ):
        codes = np.unique(values, return_inverse=True)[1]
        equal = codes[:, None] == codes[None]
        assert abs(equal[same].mean() - equal[~same].mean()) < 0.035
    for numbers in (
        np.array([s.view.size for s in shots], dtype=float)[:, 0],
        np.array([s.view.zoom for s in shots]),
        np.array([s.view.gains[0] for s in shots]),
    ):
        centred = (numbers - numbers.mean()) / numbers.std()
        products = centred[:, None] * centred[None]
        assert abs(products[same].mean()) < 0.07, "correlation between two images of one person"


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_file_names_do_not_tell_the_identity(benchmark: Benchmark) -> None:
    shots = plan_shots(benchmark.name)
    numbers = np.array(
        [[int("".join(filter(str.isdigit, s.path.rpartition("/")[2][:6])))] for s in shots], float
    )
    identity = np.array([shot.identity for shot in shots])
    chance = chance_of(identity)
    assert len(np.unique(numbers)) == len(numbers)
    assert nearest_neighbour_rate(numbers, identity) < chance + 4 * (chance / len(identity)) ** 0.5


@pytest.mark.parametrize("plan", [plan_regdb, plan_llcm])
def test_what_surrounds_a_person_in_one_kind_of_light_says_nothing_about_the_other(
    plan: Callable[[int, int], Plan],
) -> None:
    # within one kind LLCM's places do tell, as they do in life: a person passes three of nine
    shots = plan(110, 0).shots
    kinds = [[shot for shot in shots if shot.view.infrared == infrared] for infrared in (False, True)]
    same = np.array([shot.identity for shot in kinds[0]])[:, None] == [shot.identity for shot in kinds[1]]
    for fact in (
        lambda s: s.camera,
        lambda s: s.view.scene,
        lambda s: s.view.occluder,
        lambda s: s.view.size[0],
    ):
        values = [np.array([fact(shot) for shot in part]) for part in kinds]
        equal = values[0][:, None] == values[1]
        assert abs(equal[same].mean() - equal[~same].mean()) < 0.02
