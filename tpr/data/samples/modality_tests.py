"""Test images of two kinds of cameras: their order, drawn galleries, and the captions of infrared ones.

Drawn galleries follow Python's `random` under the published seeds, so that they are the published ones on any
machine. Captions go by their running numbers.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np

from tpr.data.tables.corpus import Corpus, Flags, IndexArray
from tpr.errors import DataError


@dataclass(frozen=True, eq=False)
class InfraredTexts:
    """The captions of infrared images, by running caption numbers."""

    given: IndexArray
    """(N,) the text that each image searches with."""
    own: IndexArray | None = None
    """(N,) the image's own caption, where the given text is another."""

    def take(self, rows: IndexArray | Flags) -> "InfraredTexts":
        """Only those of these images."""
        return InfraredTexts(self.given[rows], None if self.own is None else self.own[rows])


def list_images(corpus: Corpus, *, infrared: bool, cameras: Sequence[int] | None = None) -> IndexArray:
    """Rows of one kind of image in the order of the protocol. Raises DataError where there are none.

    By person, camera and path, as published, whatever the order of the corpus, unless that is the protocol's.
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
    if corpus.task.is_ordered:
        return rows
    paths = corpus.table.column("image").to_pylist()
    places = [(corpus.identity[row], camera, paths[row], row) for row, camera in _pair_cameras(corpus, rows)]
    return np.array([row for *_, row in sorted(places)], dtype=np.int64)


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


def choose_texts(
    corpus: Corpus, infrared: IndexArray, text: Literal["own", "oracle"], seed: int, *, needs_own: bool
) -> InfraredTexts:
    """The texts of infrared images, own or drawn. infrared: (N,) rows in the order of the protocol.

    needs_own: whether images must have captions of their own in addition to oracle texts.
    Raises DataError where a text is missing.
    """
    if text == "own":
        return InfraredTexts(find_own_captions(corpus, infrared))
    pools, people = list_identity_captions(corpus), corpus.identity[infrared].tolist()
    missing = [person for person in people if not len(pools.get(person, ()))]
    if missing:
        raise DataError(
            f"{corpus.name}: no visible image of person {missing[0]} has a caption to draw an oracle text "
            f"from ({len(set(missing)):,} such people); add the dataset's texts, or set "
            "evaluation.visible_infrared.queries=[infrared]"
        )
    generator = np.random.RandomState(seed)
    drawn = [pools[person][generator.choice(len(pools[person]))] for person in people]
    return InfraredTexts(
        np.array(drawn, dtype=np.int64), find_own_captions(corpus, infrared) if needs_own else None
    )


def find_own_captions(corpus: Corpus, infrared: IndexArray) -> IndexArray:
    """(N,) running number of each image's description. Raises DataError where an image has none."""
    first = corpus.caption_offsets[infrared]
    missing = infrared[corpus.caption_offsets[infrared + 1] == first]
    if len(missing):
        raise DataError(
            f"{corpus.name}: {len(missing):,} of {len(infrared):,} infrared images have no caption to "
            f"search with, the first is {corpus.image_path(int(missing[0]))}; add its texts, or set "
            "evaluation.visible_infrared.queries=[infrared]"
        )
    return first


def list_identity_captions(corpus: Corpus) -> dict[int, IndexArray]:
    """Caption numbers of each identity's visible images, without repeated texts, in order.

    corpus: an evaluation split, which holds no rephrasings.
    """
    known: dict[int, dict[str, int]] = {}
    captions = corpus.table.column("captions")
    for row in np.flatnonzero(~corpus.infrared()).tolist():
        texts = known.setdefault(int(corpus.identity[row]), {})
        for number, text in enumerate(captions[row].as_py(), start=int(corpus.caption_offsets[row])):
            texts.setdefault(text, number)
    return {
        identity: np.array(list(texts.values()), dtype=np.int64) for identity, texts in known.items() if texts
    }
