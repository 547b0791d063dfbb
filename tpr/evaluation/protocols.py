"""Who searches whom on sets of visible and infrared images, and which texts infrared images bring along.

Numbers of rows are those of the corpus. Drawn galleries follow Python's `random` under the published seeds,
one draw per person and camera in ascending order, so that they are the published ones on any machine.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from tpr.config.visible_infrared import CrossDirection, VisibleInfraredOptions
from tpr.data.samples.sample import Protocol
from tpr.data.samples.visible_infrared import list_identity_captions
from tpr.data.tables.corpus import Corpus, Flags, IndexArray
from tpr.errors import ConfigError, DataError

SAME_ROOM = (2, 3)
"""SYSU-MM01's visible and infrared camera that look into the same room."""
INDOOR = (1, 2)
"""SYSU-MM01's visible cameras inside."""
MULTI_SHOT = 10
"""Most gallery images of a person and camera in a multi-shot gallery."""


@dataclass(frozen=True, eq=False)
class Images:
    """Who is on the images of one side, and which cameras took them."""

    identity: IndexArray
    """(N,) persons."""
    camera: IndexArray
    """(N,) cameras."""

    def take(self, rows: slice | IndexArray) -> "Images":
        """Only these images."""
        return Images(self.identity[rows], self.camera[rows])


@dataclass(frozen=True, eq=False)
class Trial:
    """One gallery and those who search it."""

    queries: IndexArray
    """(Q,) corpus rows."""
    gallery: IndexArray
    """(G,) corpus rows."""


@dataclass(frozen=True, eq=False)
class Search:
    """One line of a protocol: its results are the mean over its trials."""

    name: str
    """What it is called where a set has several, else empty."""
    direction: CrossDirection
    trials: tuple[Trial, ...]


@dataclass(frozen=True, eq=False)
class Texts:
    """The captions of infrared images, by running caption numbers."""

    given: IndexArray
    """(N,) the text that each image searches with."""
    own: IndexArray | None = None
    """(N,) the image's own caption, where the given text is another."""

    def take(self, rows: IndexArray | Flags) -> "Texts":
        """Only those of these images."""
        return Texts(self.given[rows], None if self.own is None else self.own[rows])


def list_searches(corpus: Corpus, options: VisibleInfraredOptions) -> list[Search]:
    """The searches of a corpus' protocol that the options ask for, in their order.

    Raises DataError where there are no images of one kind, ConfigError where no direction is left.
    """
    infrared = list_images(corpus, infrared=True)
    names = options.sysu if corpus.protocol == "sysu" else ("",)
    directions = [
        direction
        for direction in options.directions
        # LLCM's authors alone measure so.
        if corpus.protocol == "llcm" or direction != "sampled_infrared_to_visible"
    ]
    if not directions:
        raise ConfigError(
            f"evaluation.visible_infrared.directions={list(options.directions)} leaves nothing to measure on "
            f"{corpus.name}; add infrared_to_visible"
        )
    searches = []
    for name in names:
        cameras = INDOOR if name == "indoor" else None
        visible = list_images(corpus, infrared=False, cameras=cameras)
        for direction in directions:
            trials = make_trials(corpus, (visible, infrared), direction, options)
            searches.append(Search(name, direction, trials))
    return searches


def list_images(corpus: Corpus, *, infrared: bool, cameras: Sequence[int] | None = None) -> IndexArray:
    """Rows of one kind of image in the order of the protocol. Raises DataError where there are none.

    By person, camera and path, as published, whatever the order of the corpus; RegDB's order is its index
    file's.
    """
    is_chosen = corpus.infrared() == infrared
    if cameras is not None:
        is_chosen &= np.isin(corpus.cameras(), cameras)
    rows = np.flatnonzero(is_chosen)
    if not len(rows):
        kind = "infrared" if infrared else "visible"
        where = "" if cameras is None else f" of cameras {', '.join(map(str, cameras))}"
        raise DataError(
            f"{corpus.name}: the {corpus.split} split has no {kind} image{where}; its protocol needs them: "
            "run `tpr data check` to see what is missing"
        )
    if corpus.protocol == "regdb":
        return rows
    paths = corpus.table.column("image").to_pylist()
    places = [(corpus.identity[row], camera, paths[row], row) for row, camera in _pair_cameras(corpus, rows)]
    return np.array([row for *_, row in sorted(places)], dtype=np.int64)


def make_trials(
    corpus: Corpus,
    images: tuple[IndexArray, IndexArray],
    direction: CrossDirection,
    options: VisibleInfraredOptions,
) -> tuple[Trial, ...]:
    """Queries and galleries. images: visible and infrared rows in order."""
    visible, infrared = images
    if corpus.protocol == "regdb":
        found = Trial(infrared, visible)
        return (found if direction == "infrared_to_visible" else Trial(visible, infrared),)
    whole, drawn = (infrared, visible) if direction == "infrared_to_visible" else (visible, infrared)
    is_multi = corpus.protocol == "sysu" and options.shots == "multi"
    trials = []
    for seed in range(options.trials):
        sample = draw_images(corpus, drawn, seed, MULTI_SHOT if is_multi else 1)
        is_reversed = direction == "sampled_infrared_to_visible"
        trials.append(Trial(sample, whole) if is_reversed else Trial(whole, sample))
    return tuple(trials)


def draw_images(corpus: Corpus, rows: IndexArray, seed: int, shots: int) -> IndexArray:
    """One row, or up to `shots`, of each person and camera. rows: in the order of `list_images`.

    Source: the TVI-LFM test of SYSU-MM01 and LLCM. Differs: several shots are drawn by the same generator,
    not by numpy's global one, which no seed of a trial reaches, and are fewer where there are fewer images.
    """
    generator = random.Random(seed)
    chosen: list[int] = []
    pairs = _pair_cameras(corpus, rows)
    for _, group in groupby(pairs, key=lambda pair: (corpus.identity[pair[0]], pair[1])):
        found = [row for row, _ in group]
        if shots == 1:
            chosen.append(generator.choice(found))
        else:
            chosen += generator.sample(found, min(shots, len(found)))
    return np.array(chosen, dtype=np.int64)


def _pair_cameras(corpus: Corpus, rows: IndexArray) -> Iterator[tuple[int, int]]:
    return zip(rows.tolist(), corpus.cameras()[rows].tolist(), strict=True)


def find_excluded(
    protocol: Protocol, queries: Images, gallery: Images
) -> Iterator[tuple[IndexArray, IndexArray]]:
    """Places of queries and of gallery images that do not count for one another, to index a matrix with.

    Source: TVI-LFM, official `tools/eval_metrics.py`. Differs: SYSU-MM01's cameras of the same room are kept
    apart whichever of them searches.
    """
    if protocol == "llcm":
        # One number per person and camera; cameras are below 2^15.
        wanted, known = (side.identity * 2**16 + side.camera for side in (queries, gallery))
        order = np.argsort(known, kind="stable")
        start = np.searchsorted(known[order], wanted)
        count = np.searchsorted(known[order], wanted, side="right") - start
        rows = np.repeat(np.arange(len(wanted)), count)
        yield rows, order[np.arange(len(rows)) + np.repeat(start - np.cumsum(count) + count, count)]
    if protocol == "sysu":
        for searching, found in (SAME_ROOM, SAME_ROOM[::-1]):
            yield np.ix_(queries.camera == searching, gallery.camera == found)


def choose_texts(
    corpus: Corpus, infrared: IndexArray, options: VisibleInfraredOptions, *, needs_own: bool
) -> Texts:
    """The texts of infrared images, by `options.text`. infrared: (N,) rows in the order of the protocol.

    needs_own: whether images must have captions of their own beside oracle texts.
    Raises DataError where a text is missing.
    """
    if options.text == "own":
        return Texts(find_own_captions(corpus, infrared))
    pools, people = list_identity_captions(corpus), corpus.identity[infrared].tolist()
    missing = [person for person in people if not len(pools.get(person, ()))]
    if missing:
        raise DataError(
            f"{corpus.name}: no visible image of person {missing[0]} has a caption to draw an oracle text "
            f"from ({len(set(missing)):,} such people); add the set's texts, or set "
            "evaluation.visible_infrared.queries=[infrared]"
        )
    generator = np.random.RandomState(options.text_seed)
    drawn = [pools[person][generator.choice(len(pools[person]))] for person in people]
    return Texts(np.array(drawn, dtype=np.int64), find_own_captions(corpus, infrared) if needs_own else None)


def find_own_captions(corpus: Corpus, infrared: IndexArray) -> IndexArray:
    """(N,) running number of each image's description. Raises DataError where an image has none."""
    first = corpus.caption_offsets[infrared]
    missing = infrared[corpus.caption_offsets[infrared + 1] == first]
    if len(missing):
        raise DataError(
            f"{corpus.name}: {len(missing):,} of {len(infrared):,} infrared images have no caption to "
            f"search with, the first is {corpus.image_path(int(missing[0]))}; add the set's texts, or set "
            "evaluation.visible_infrared.queries=[infrared]"
        )
    return first
