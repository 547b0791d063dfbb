"""The three benchmarks with identities and splits: CUHK-PEDES, ICFG-PEDES, RSTPReid."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tpr.drawn.annotators import CASUAL, FINE, PLAIN, Annotator
from tpr.drawn.cameras import CUHK, ICFG, RSTP, Camera
from tpr.drawn.plan import Plan, Shot, Studio


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """How one benchmark is built; counts are multiples of the number of test identities."""

    name: str
    folder: str
    annotation: str
    path_key: str
    first_identity: int
    splits: tuple[tuple[str, float], ...]
    """Split and its identities per test identity, in the order of their numbers."""
    images: tuple[int, int]
    """Fewest and most images of a person."""
    captions: int
    cameras: Sequence[Camera]
    annotator: Annotator
    has_tokens: bool
    name_file: Callable[[str, int, Studio], str]
    """Path below imgs/ from camera name and a number that says nothing about the person."""


def name_cuhk(camera: str, number: int, studio: Studio) -> str:
    """Folders of the source collections, as published."""
    return f"{camera}/{number:06d}.jpg"


def name_icfg(camera: str, number: int, studio: Studio) -> str:
    """Folders train and test are those of the source collection, not the split."""
    return f"{studio.names.choice(('train', 'test'))}/{number:06d}_{camera}.jpg"


def name_rstp(camera: str, number: int, studio: Studio) -> str:
    """All images in one folder."""
    return f"{number:06d}_{camera}.jpg"


CUHK_PEDES = Benchmark(
    name="cuhk_pedes",
    folder="CUHK-PEDES",
    annotation="reid_raw.json",
    path_key="file_path",
    first_identity=1,
    splits=(("train", 2.6), ("val", 0.3), ("test", 1.0)),
    images=(3, 4),
    captions=2,
    cameras=CUHK,
    annotator=PLAIN,
    has_tokens=True,
    name_file=name_cuhk,
)
ICFG_PEDES = Benchmark(
    name="icfg_pedes",
    folder="ICFG-PEDES",
    annotation="ICFG-PEDES.json",
    path_key="file_path",
    first_identity=0,
    splits=(("train", 1.4), ("test", 1.0)),
    images=(3, 5),
    captions=1,
    cameras=ICFG,
    annotator=FINE,
    has_tokens=True,
    name_file=name_icfg,
)
RSTPREID = Benchmark(
    name="rstpreid",
    folder="RSTPReid",
    annotation="data_captions.json",
    path_key="img_path",
    first_identity=0,
    splits=(("train", 1.2), ("val", 0.2), ("test", 1.0)),
    images=(5, 5),
    captions=2,
    cameras=RSTP,
    annotator=CASUAL,
    has_tokens=False,
    name_file=name_rstp,
)


def plan_benchmark(benchmark: Benchmark, identities: int, seed: int) -> Plan:
    """Images and the annotation file of a benchmark with this many test identities."""
    studio = Studio(benchmark.name, seed)
    people = [split for split, share in benchmark.splits for _ in range(max(1, round(share * identities)))]
    counts = [studio.stream("pictures", number).randint(*benchmark.images) for number in range(len(people))]
    numbers = iter(studio.numbers(sum(counts)))
    shots: list[Shot] = []
    records: list[dict[str, Any]] = []
    for number, (split, count) in enumerate(zip(people, counts, strict=True)):
        person = studio.person(number)
        identity = number + benchmark.first_identity
        for _ in range(count):
            camera, view = studio.view(benchmark.cameras, len(shots))
            path = benchmark.name_file(camera.name, next(numbers), studio)
            shot = Shot(f"imgs/{path}", identity, person, view, camera.name)
            captions = [
                studio.caption(shot, benchmark.annotator, len(shots), which).text
                for which in range(benchmark.captions)
            ]
            records.append(_record(benchmark, split, identity, path, captions))
            shots.append(shot)
    return Plan(
        folder=benchmark.folder,
        shots=shots,
        files={benchmark.annotation: records},
        captions=sum(len(record["captions"]) for record in records),
        identities=len(people),
    )


def _record(
    benchmark: Benchmark, split: str, identity: int, path: str, captions: list[str]
) -> dict[str, Any]:
    """One image's record with the published keys."""
    record: dict[str, Any] = {"split": split, "captions": captions, benchmark.path_key: path, "id": identity}
    if benchmark.has_tokens:
        record["processed_tokens"] = [re.findall(r"[a-z]+", caption.lower()) for caption in captions]
    return record
