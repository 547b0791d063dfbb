"""Queries, galleries, texts and results of the published visible-infrared tests."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.parity.fixtures import read_fixture
from tests.parity.weights import random_state_dict
from tpr.data.samples.modality_tests import choose_texts, draw_images, list_images
from tpr.data.samples.sample import DatasetTask
from tpr.data.tables.corpus import Corpus, offsets_of
from tpr.evaluation import visible_infrared_metrics
from tpr.evaluation.protocols.visible_infrared import (
    RULES,
    Rules,
    VisibleInfrared,
    choose_sides,
    list_searches,
)
from tpr.evaluation.query_results import QueryResults, summarise_trials
from tpr.evaluation.scores import GivenDistances
from tpr.evaluation.search import Encoded, Labels, rank, run_search

PROTOCOLS = {case["kind"]: case for case in read_fixture("tvi_lfm")["protocols"]}
CASES = read_fixture("visible_infrared_rde")["vi"]
ROWS = torch.tensor(
    [
        [0.10, 0.90, 0.80, 0.20, 0.30, 0.70, 0.60, 0.05],
        [0.50, 0.40, 0.95, 0.15, 0.35, 0.85, 0.25, 0.45],
        [0.65, 0.75, 0.05, 0.55, 0.45, 0.99, 0.35, 0.25],
    ],
    dtype=torch.float64,
)
"""Similarities of the specification's small case."""


def cumulate(results: list[QueryResults], ranks: int) -> list[float]:
    """Shares of queries with a match among the first, the first two and so on, averaged over trials."""
    curves = [[(r.first[r.first > 0] <= k).mean() for k in range(1, ranks + 1)] for r in results]
    return np.mean(curves, axis=0).tolist()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['kind']} seed {case['seed']}")
def test_published_metrics(case: dict[str, Any]) -> None:
    rng = np.random.RandomState(case["seed"])
    people, queries, items = case["identities"], case["queries"], case["gallery"]
    gallery_identity = np.concatenate([np.arange(people), rng.randint(0, people, items - people)])
    query_identity = rng.randint(0, people, queries)
    if case["kind"] == "sysu":
        query_camera, gallery_camera = rng.choice([3, 6], queries), rng.choice([1, 2, 4, 5], items)
    else:
        query_camera, gallery_camera = rng.randint(1, 10, queries), rng.randint(1, 10, items)
    centres = rng.standard_normal((people, 8))
    query = torch.from_numpy(rng.standard_normal((queries, 8)) + centres[query_identity])
    gallery = torch.from_numpy(rng.standard_normal((items, 8)) + centres[gallery_identity])
    scores = functional.normalize(query) @ functional.normalize(gallery).T
    sides = (Labels(query_identity, query_camera), Labels(gallery_identity, gallery_camera))
    cmc = cumulate([rank(GivenDistances(-scores.numpy()), *sides, RULES[case["kind"]])], len(case["cmc"]))
    assert cmc == pytest.approx(case["cmc"], abs=1e-5)
    metrics = visible_infrared_metrics(
        -scores, query_identity, gallery_identity, query_camera, gallery_camera, case["kind"]
    )
    assert [metrics.r1, metrics.r5, metrics.r10, metrics.r20] == pytest.approx(
        [100 * case["cmc"][k - 1] for k in (1, 5, 10, 20)], abs=1e-3
    )
    assert [metrics.map, metrics.minp] == pytest.approx([100 * case["mAP"], 100 * case["mINP"]], abs=1e-3)


@pytest.mark.parametrize(
    ("protocol", "cameras", "cmc", "means"),
    [
        ("sysu", [3, 6, 3], [1 / 3, 1 / 3, 2 / 3], [0.402778, 0.277778]),
        ("regdb", [1, 1, 1], [1, 1, 1], [0.655952, 0.311905]),
        ("llcm", [2, 4, 5], [2 / 3, 2 / 3, 2 / 3], [0.622222, 0.522222]),
    ],
)
def test_metrics_worked_out_in_the_specification(
    protocol: Rules, cameras: list[int], cmc: list[float], means: list[float]
) -> None:
    queries = Labels(np.array([1, 2, 3]), np.array(cameras))
    gallery = Labels(np.array([1, 1, 2, 2, 3, 3, 4, 4]), np.array([1, 2, 2, 4, 1, 2, 1, 5]))
    results = rank(GivenDistances(-ROWS.numpy()), queries, gallery, RULES[protocol])
    assert cumulate([results], 3) == pytest.approx(cmc)
    metrics, _ = summarise_trials([results])
    assert [metrics.map / 100, metrics.minp / 100] == pytest.approx(means, abs=1e-6)


def parse_path(kind: str, path: str) -> tuple[int, int, bool]:
    """Person, camera, and whether a file is infrared."""
    parts = path.split("/")
    if kind == "sysu":
        return int(parts[1]), int(parts[0][3:]), parts[0] in ("cam3", "cam6")
    if kind == "llcm":
        return int(parts[2]), int(parts[1][3:]), parts[0] == "test_nir"
    return int(parts[1]), -1, parts[0] == "Thermal"


def make_corpus(case: dict[str, Any], *, shuffled: bool = False) -> Corpus:
    """The test split of the case's files; the captions of a person lie on the first visible image."""
    kind = case["kind"]
    numbers = [*case["query"], *case["gallery"]] if kind == "regdb" else list(range(len(case["files"])))
    known = {number: parse_path(kind, case["files"][number]) for number in numbers}
    numbers = [number for number in numbers if kind == "regdb" or known[number][0] in case["test_id"]]
    if shuffled:
        random.Random(5).shuffle(numbers)
    left = {int(name): count for name, count in case["text"]["captions_by_identity"].items()}
    captions = []
    for number in numbers:
        person, _, infrared = known[number]
        own = [f"own {case['files'][number]}"]
        captions.append(own if infrared else [f"{person} {n}" for n in range(left.pop(person, 0))])
    columns = zip(*(known[number] for number in numbers), strict=True)
    table = pa.table(dict(zip(("identity", "camera", "infrared"), map(list, columns), strict=True)))
    for name, column in {
        "image": [case["files"][number] for number in numbers],
        "file": numbers,
        "captions": captions,
    }.items():
        table = table.append_column(name, pa.array(column))
    identity = table.column("identity").to_numpy()
    offsets = offsets_of(table.column("captions"))
    return Corpus(
        kind,
        "test",
        Path(),
        table,
        identity,
        offsets,
        True,
        kind,
        task=DatasetTask("visible_infrared", kind, False, kind == "regdb"),
    )


def to_files(corpus: Corpus, rows: np.ndarray) -> list[int]:
    return np.array(corpus.table.column("file"))[rows].tolist()


@pytest.mark.parametrize("shuffled", [False, True])
def test_published_queries_and_galleries_of_sysu(shuffled: bool) -> None:
    case = PROTOCOLS["sysu"]
    corpus = make_corpus(case, shuffled=shuffled)
    searches = list_searches(corpus, VisibleInfrared.Options())
    assert [search.name for search in searches] == ["all", "indoor"]
    for search in searches:
        known = case[search.name]
        assert [to_files(corpus, trial.gallery) for trial in search.search.trials] == known["gallery"]
        assert all(to_files(corpus, trial.queries) == case["query"] for trial in search.search.trials)
        gallery = search.search.trials[0].gallery
        assert corpus.identity[gallery].tolist() == known["gallery_identity"]
        assert corpus.cameras()[gallery].tolist() == known["gallery_camera"]


def test_published_queries_and_gallery_of_regdb() -> None:
    case = PROTOCOLS["regdb"]
    corpus = make_corpus(case)
    directions = ("infrared_to_visible", "visible_to_infrared")
    there, back = list_searches(corpus, VisibleInfrared.Options(directions=directions))
    (trial,), (reverse,) = there.search.trials, back.search.trials
    assert to_files(corpus, trial.queries) == to_files(corpus, reverse.gallery) == case["query"]
    assert to_files(corpus, trial.gallery) == to_files(corpus, reverse.queries) == case["gallery"]


@pytest.mark.parametrize("shuffled", [False, True])
def test_published_queries_and_galleries_of_llcm(shuffled: bool) -> None:
    case = PROTOCOLS["llcm"]
    corpus = make_corpus(case, shuffled=shuffled)
    directions = ("infrared_to_visible", "visible_to_infrared", "sampled_infrared_to_visible")
    there, back, variant = list_searches(corpus, VisibleInfrared.Options(directions=directions))
    galleries = [to_files(corpus, trial.gallery) for trial in there.search.trials]
    assert galleries == case["infrared_to_visible"]["gallery"]
    assert to_files(corpus, there.search.trials[0].queries) == case["query"]
    # The authors' script draws infrared images and lists all visible ones; who of them searches differs.
    known = case["cosine_of_raw_features"][1]
    for trial, reverse, drawn in zip(
        back.search.trials, variant.search.trials, known["sampled"], strict=True
    ):
        assert to_files(corpus, trial.gallery) == to_files(corpus, reverse.queries) == drawn
        assert to_files(corpus, trial.queries) == to_files(corpus, reverse.gallery) == known["listed_once"]


@pytest.mark.parametrize("kind", PROTOCOLS)
def test_published_draw_of_oracle_texts(kind: str) -> None:
    case = PROTOCOLS[kind]
    corpus = make_corpus(case)
    infrared = list_images(corpus, infrared=True)
    seed = case["text"]["numpy_seed"]
    texts = choose_texts(corpus, infrared, "oracle", seed, needs_own=True)
    captions = [caption for row in range(len(corpus)) for caption in corpus.captions(row)]
    people = corpus.identity[infrared].tolist()
    assert [captions[number] for number in texts.given] == [
        f"{person} {number}" for person, number in zip(people, case["text"]["visible_text"], strict=True)
    ]
    assert texts.own is not None
    assert [captions[number] for number in texts.own] == [
        f"own {corpus.image_path(row)}" for row in infrared.tolist()
    ]


def test_draws_of_the_specification() -> None:
    case = {0: [12, 13, 1, 8, 16, 15, 12, 9, 15, 11, 18, 6], 1: [4, 18, 2, 8, 3, 15, 14, 15, 12, 6, 3, 15]}
    case[2] = [1, 2, 2, 11, 5, 9, 8, 19, 6, 19, 1, 18]
    for seed, places in case.items():
        assert draw_places([20] * 12, seed) == places
    assert draw_places([20, 19, 5, 400, 401, 3, 1, 20], 0) == [12, 13, 0, 132, 261, 1, 0, 9]
    pools = [10, 10, 9, 17, 23, 5, 1, 10]
    corpus = make_people(pools, 1)
    texts = choose_texts(corpus, list_images(corpus, infrared=True), "oracle", 1, needs_own=False)
    starts = corpus.caption_offsets[np.flatnonzero(~corpus.infrared())]
    assert (texts.given - starts).tolist() == [5, 8, 5, 15, 0, 0, 0, 1]


def make_people(captions: list[int], images: int) -> Corpus:
    """People with one infrared image and some visible ones, of which the first has all captions."""
    rows = [(person, 3, True, 0) for person in range(len(captions))]
    for person, count in enumerate(captions):
        rows += [(person, 1, False, count if number == 0 else 0) for number in range(images)]
    identity, camera, infrared, counts = (list(column) for column in zip(*rows, strict=True))
    texts = [[f"{row} {number}" for number in range(count)] for row, count in enumerate(counts)]
    names = [f"{row:06d}.jpg" for row in range(len(rows))]
    table = pa.table({"image": names, "camera": camera, "infrared": infrared, "captions": texts})
    offsets = offsets_of(table.column("captions"))
    return Corpus(
        "few",
        "test",
        Path(),
        table,
        np.array(identity),
        offsets,
        True,
        "few",
        task=DatasetTask("visible_infrared", "sysu", False),
    )


def draw_places(sizes: list[int], seed: int) -> list[int]:
    """Which of a person's images is drawn, for people with so many images each."""
    identity = np.repeat(np.arange(len(sizes)), sizes)
    corpus = make_people([0], 0)
    table = pa.table({"camera": np.ones(len(identity), dtype=np.int64)})
    corpus = replace(corpus, table=table, identity=identity)
    drawn = draw_images(corpus, np.arange(len(identity)), seed, 1)
    return (drawn - np.cumsum([0, *sizes[:-1]])).tolist()


class Heads:
    """What the published test makes of raw features: batch norm in evaluation and unit length, twice."""

    def __init__(self, case: dict[str, Any]) -> None:
        dim, classes = case["dim"], case["classes"]
        shapes = {f"BN.{name}": [dim] for name in ("weight", "bias", "running_mean", "running_var")}
        shapes |= {"BN.num_batches_tracked": [], "classifier.weight": [classes, dim]}
        self.states = [random_state_dict(shapes, case["seed"] + number) for number in range(2)]

    def __call__(self, raw: Tensor, number: int) -> Tensor:
        state = {name.removeprefix("BN."): value for name, value in self.states[number].items()}
        known = (state["running_mean"], state["running_var"], state["weight"], state["bias"])
        return functional.normalize(functional.batch_norm(raw, *known))


def draw_raw_features(case: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Of all files in order, and of the visible and infrared texts of all queries."""
    rng = np.random.RandomState(case["seed"] + 1)
    dim, spread = case["dim"], case["spread"]
    people = [parse_path(case["kind"], path)[0] for path in case["files"]]
    centres = {person: rng.standard_normal(dim) for person in sorted(set(people))}
    files = [centres[person] + spread * rng.standard_normal(dim) for person in people]
    queries = [people[number] for number in case["query"]]
    visible = [centres[person] + spread * rng.standard_normal(dim) for person in queries]
    infrared = 0.7 * rng.standard_normal((len(queries), dim))
    return tuple(torch.from_numpy(np.array(part).astype("float32")) for part in (files, visible, infrared))


def make_features(
    case: dict[str, Any], corpus: Corpus, setting: str, *, mixed_heads: bool
) -> dict[str, Encoded]:
    """Vectors whose inner products are the published similarities of every kind of query.

    A second half stands for the second head, on which infrared images alone search. mixed_heads: visible
    images take the first head against it as well.
    """
    heads = Heads(case)
    files, visible_text, infrared_text = draw_raw_features(case)
    infrared_rows, visible_rows = (list_images(corpus, infrared=kind) for kind in (True, False))
    numbers = corpus.table.column("file").to_numpy()
    infrared, visible = files[numbers[infrared_rows]], files[numbers[visible_rows]]
    fused = infrared + visible_text - (0 if "no filter" in setting else infrared_text)
    kinds = {"infrared": heads(infrared, 0), "text": heads(visible_text, 0), "fused": heads(fused, 0)}
    kinds["ensemble"] = kinds["infrared"] + kinds["text"] + kinds["fused"]
    empty = torch.zeros_like(infrared)
    features = {kind: torch.cat([vectors, empty], dim=1) for kind, vectors in kinds.items()}
    if "no backup head" not in setting:
        features["infrared"] = torch.cat([empty, heads(infrared, 1)], dim=1)
    images = torch.cat([heads(visible, 0), heads(visible, 0 if mixed_heads else 1)], dim=1)
    place = np.full(len(corpus), -1)
    place[infrared_rows], place[visible_rows] = np.arange(len(infrared)), np.arange(len(visible))
    return {name: Encoded(vectors, place) for name, vectors in (features | {"visible": images}).items()}


def list_published() -> Iterator[tuple[str, str, str, str, str]]:
    """Protocol, place of its results, direction, setting and kind of every published result."""
    places = [("sysu", "all"), ("sysu", "indoor"), ("llcm", "infrared_to_visible")]
    places += [("regdb", "thermal_to_visible"), ("regdb", "visible_to_thermal")]
    for protocol, place in places:
        direction = "visible_to_infrared" if place == "visible_to_thermal" else "infrared_to_visible"
        known = PROTOCOLS[protocol][place]
        for setting, results in known.get("results", known).items():
            for kind in results:
                yield protocol, place, direction, setting, kind


@pytest.mark.parametrize(("protocol", "place", "direction", "setting", "kind"), list(list_published()))
def test_published_results(protocol: str, place: str, direction: str, setting: str, kind: str) -> None:
    case = PROTOCOLS[protocol]
    known = case[place].get("results", case[place])[setting][kind]
    corpus = make_corpus(case)
    names = (place,) if protocol == "sysu" else ("all",)
    (search,) = list_searches(corpus, VisibleInfrared.Options(sysu=names, directions=(direction,)))
    features = make_features(case, corpus, setting, mixed_heads=place == "visible_to_thermal")
    ours = {"IR": "infrared", "Text": "text", "Fusion": "fused"}[kind]
    if kind == "Fusion" and "ensemble" in setting and place != "visible_to_thermal":
        ours = "ensemble"
    if protocol == "llcm" and kind == "IR":
        # As published: SYSU-MM01's rule, which drops nothing here.
        labels = Labels(corpus.identity, np.zeros(len(corpus), dtype=np.int64))
        search = replace(
            search, search=replace(search.search, queries=labels, gallery=labels, rule=RULES["sysu"])
        )
    pair = choose_sides(features, ours, direction)
    check_results(run_search(search.search, *pair), known)


def check_results(results: list[QueryResults], known: dict[str, Any]) -> None:
    assert cumulate(results, len(known["cmc"])) == pytest.approx(known["cmc"], abs=1e-5)
    metrics, deviations = summarise_trials(results)
    assert [metrics.map, metrics.minp] == pytest.approx([100 * known["mAP"], 100 * known["mINP"]], abs=1e-3)
    assert bool(deviations) == (len(results) > 1)


@pytest.mark.parametrize(
    ("direction", "known"),
    list(
        zip(
            ("infrared_to_visible", "sampled_infrared_to_visible"),
            PROTOCOLS["llcm"]["cosine_of_raw_features"],
            strict=True,
        )
    ),
    ids=("as named", "drawn images search"),
)
def test_results_of_the_script_of_the_authors_of_llcm(direction: str, known: dict[str, Any]) -> None:
    corpus = make_corpus(PROTOCOLS["llcm"])
    (search,) = list_searches(corpus, VisibleInfrared.Options(directions=(direction,)))
    raw = functional.normalize(draw_raw_features(PROTOCOLS["llcm"])[0])
    raw = raw[corpus.table.column("file").to_numpy().copy()]
    check_results(run_search(search.search, Encoded(raw), Encoded(raw)), known)
