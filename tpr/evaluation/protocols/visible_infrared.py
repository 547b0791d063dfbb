"""Infrared images, their texts or both search for visible images, and visible images for infrared ones.

SYSU-MM01 and LLCM draw galleries, by the seeds 0, 1, ...; RegDB has numbered splits. Numbers of rows are
those of the corpus. Each image is embedded once, whatever the number of galleries, and an infrared image once
for all kinds of query.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from tpr.config.ranges import Range, ShortSeed
from tpr.data.samples.batch import Batch
from tpr.data.samples.modality_tests import InfraredTexts, choose_texts, draw_images, list_images
from tpr.data.samples.sender import Sender
from tpr.data.samples.views import Arrays
from tpr.data.tables.corpus import Corpus, IndexArray
from tpr.data.text.token_cache import corpus_tokens
from tpr.errors import ConfigError
from tpr.evaluation.embed import Embedder, Encoder
from tpr.evaluation.protocols.base import Protocol, find_best
from tpr.evaluation.query_table import Asked
from tpr.evaluation.rankings import Ranking, make_ranking, spread_queries
from tpr.evaluation.rows import Row
from tpr.evaluation.scores import Index
from tpr.evaluation.search import Encoded, Labels, Rule, Search, Trial, exclude_same_camera, run_search

Rules = Literal["sysu", "regdb", "llcm"]
Query = Literal["infrared", "text", "fused", "ensemble"]
Direction = Literal["infrared_to_visible", "visible_to_infrared", "sampled_infrared_to_visible"]
QUERIES: tuple[Query, ...] = ("infrared", "text", "fused", "ensemble")
"""Every kind, in the order of the table's rows; the last one that is measured selects the best epoch."""
SAME_ROOM = (2, 3)
"""SYSU-MM01's visible and infrared camera that look into the same room."""
INDOOR = (1, 2)
"""SYSU-MM01's visible cameras inside."""
MULTI_SHOT = 10
"""Most gallery images of a person and camera in a multi-shot gallery."""
TEXT_NOTES = {
    "own": "own text: every infrared image has its own caption, made from that image alone",
    "oracle": "ORACLE text: every infrared image has a caption of the true person's visible images, of "
    "galleries too, as published; not to be compared with numbers of images alone",
}
"""Where the texts came from; stands under every table with such a row."""


def exclude_same_room(queries: Labels, gallery: Labels) -> Iterator[Index]:
    """SYSU-MM01's cameras of one room do not see one another's images, whichever of them searches.

    Source: TVI-LFM, official `tools/eval_metrics.py`. Differs: it hides them from the infrared one alone.
    """
    for searching, found in (SAME_ROOM, SAME_ROOM[::-1]):
        yield np.ix_(queries.camera == searching, gallery.camera == found)


RULES: dict[str, Rule] = {
    "sysu": Rule(exclude_same_room, "identities"),
    "regdb": Rule(),
    "llcm": Rule(exclude_same_camera, "identities"),
}
"""By the name that an adapter's task gives. Source: TVI-LFM, official `tools/eval_metrics.py`. Differs:
LLCM's rule is the same whatever searches."""


@dataclass(frozen=True, eq=False)
class NamedSearch:
    """One line of the protocol."""

    name: str
    """What it is called where a dataset has several, else empty."""
    direction: Direction
    search: Search
    """Between rows of the corpus."""


class VisibleInfrared(Protocol):
    """A row per search and kind of query."""

    name = "visible_infrared"
    measures = ("r1", "r5", "r10", "r20", "map", "minp")
    # The published rules drop matches of single queries.
    tells_unmatched = False

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """How datasets of visible and infrared images are measured."""

        queries: tuple[Query, ...] = ()
        """What stands for an infrared image: itself, its text, both fused, their sum; empty: all of them."""
        text: Literal["own", "oracle"] = "own"
        """An infrared image's own caption, or one of the true person's visible images (as published)."""
        text_seed: ShortSeed = 1
        """Seed of the draw of oracle texts."""
        sysu: tuple[Literal["all", "indoor"], ...] = ("all", "indoor")
        """Searches of SYSU-MM01: visible images of all cameras, or of the indoor ones, 1 and 2."""
        shots: Literal["single", "multi"] = "single"
        """Gallery images of each person and camera in SYSU-MM01: one, or up to ten."""
        trials: Annotated[int, Range(1, 1000)] = 10
        """Galleries that are drawn, by the seeds 0, 1, ...; a dataset that takes every image has one."""
        directions: tuple[Direction, ...] = ("infrared_to_visible",)
        """Who searches whom; sampled: the drawn infrared images search all visible ones, an LLCM variant."""

        def __post_init__(self) -> None:
            for name in ("queries", "sysu", "directions"):
                chosen = getattr(self, name)
                if len(set(chosen)) != len(chosen) or (not chosen and name != "queries"):
                    raise ConfigError(f"{name} must name each choice once, got {list(chosen)}")

    options: Options

    def check(self, encoder: Encoder, corpus: Corpus) -> None:
        """Without an image being read."""
        list_searches(corpus, self.options)
        find_texts(corpus, self.options, choose_queries(encoder, self.options))

    def measure(self, embedder: Embedder, *, intervals: bool) -> list[Row]:
        """Each image is embedded once for all searches and kinds."""
        corpus, kinds = embedder.corpus, choose_queries(embedder.system, self.options)
        searches = list_searches(corpus, self.options)
        sides, texts = embed_sides(embedder, self.options, kinds, searches)
        rows = []
        for line in searches:
            for kind in kinds:
                trials = run_search(line.search, *choose_sides(sides, kind, line.direction))
                query = f"{kind} (ORACLE)" if kind != "infrared" and self.options.text == "oracle" else kind
                row = self.make_row(
                    corpus,
                    trials,
                    asked=list_asked(corpus, line, None if kind == "infrared" else texts),
                    intervals=intervals and len(trials) == 1,
                    direction=line.direction,
                    is_main=line.direction == "infrared_to_visible",
                    search=line.name,
                    query=query,
                    notes=() if kind == "infrared" else (TEXT_NOTES[self.options.text],),
                )
                rows.append(replace(row, facts={**row.facts, "trials": len(trials)}))
        return rows

    def list_examples(self, embedder: Embedder, queries: int, top: int) -> list[Ranking]:
        """Of the first search's first gallery and the last kind of query."""
        corpus, kind = embedder.corpus, choose_queries(embedder.system, self.options)[-1]
        line = list_searches(corpus, self.options)[0]
        trial = line.search.trials[0]
        everyone = np.arange(len(corpus))[trial.queries]
        chosen = everyone[spread_queries(len(everyone), queries)]
        search = replace(line.search, trials=(Trial(chosen, trial.gallery),))
        sides, texts = embed_sides(embedder, self.options, (kind,), [replace(line, search=search)])
        found = find_best(search, *choose_sides(sides, kind, line.direction), chosen, top)
        reads = line.direction == "infrared_to_visible"
        return [
            make_ranking(
                corpus.identity,
                row,
                best,
                caption=read_text(corpus, texts, row) if reads else "",
                query=row,
            )
            for row, best in zip(chosen.tolist(), found, strict=True)
        ]


def list_searches(corpus: Corpus, options: VisibleInfrared.Options) -> list[NamedSearch]:
    """The searches of a corpus that the options ask for, in their order.

    Raises DataError where there are no images of one kind, ConfigError where no direction is left.
    """
    rules = corpus.task.rules
    infrared = list_images(corpus, infrared=True)
    # LLCM's authors alone measure sampled queries.
    directions = [d for d in options.directions if rules == "llcm" or d != "sampled_infrared_to_visible"]
    if not directions:
        raise ConfigError(
            f"evaluation.visible_infrared.directions={list(options.directions)} leaves nothing to measure on "
            f"{corpus.name}; add infrared_to_visible"
        )
    # An ensemble is a sum of unit vectors: its length is how far they agree.
    labels, searches = Labels(corpus.identity, corpus.cameras()), []
    for name in options.sysu if rules == "sysu" else ("",):
        visible = list_images(corpus, infrared=False, cameras=INDOOR if name == "indoor" else None)
        for direction in directions:
            trials = make_trials(corpus, (visible, infrared), direction, options)
            searches.append(NamedSearch(name, direction, Search(labels, labels, RULES[rules], False, trials)))
    return searches


def make_trials(
    corpus: Corpus,
    images: tuple[IndexArray, IndexArray],
    direction: Direction,
    options: VisibleInfrared.Options,
) -> tuple[Trial, ...]:
    """Queries and galleries. images: visible and infrared rows in order."""
    visible, infrared = images
    if corpus.task.rules == "regdb":
        found = Trial(infrared, visible)
        return (found if direction == "infrared_to_visible" else Trial(visible, infrared),)
    whole, drawn = (infrared, visible) if direction == "infrared_to_visible" else (visible, infrared)
    is_multi = corpus.task.rules == "sysu" and options.shots == "multi"
    trials = []
    for seed in range(options.trials):
        sample = draw_images(corpus, drawn, seed, MULTI_SHOT if is_multi else 1)
        is_reversed = direction == "sampled_infrared_to_visible"
        trials.append(Trial(sample, whole) if is_reversed else Trial(whole, sample))
    return tuple(trials)


def choose_queries(encoder: Encoder, options: VisibleInfrared.Options) -> tuple[Query, ...]:
    """The kinds of query to measure. Raises ConfigError for one that the encoder cannot encode."""
    able = tuple(kind for kind in QUERIES if kind in encoder.sides())
    unable = [kind for kind in options.queries if kind not in able]
    if unable:
        raise ConfigError(
            f"evaluation.visible_infrared.queries: the system cannot encode '{unable[0]}'; it can encode "
            f"{', '.join(able)}"
        )
    return tuple(kind for kind in able if kind in (options.queries or able))


def find_texts(
    corpus: Corpus, options: VisibleInfrared.Options, kinds: tuple[Query, ...]
) -> InfraredTexts | None:
    """The texts of all infrared images, None where these kinds of query need none."""
    if kinds == ("infrared",):
        return None
    needs_own = bool({"fused", "ensemble"} & set(kinds))
    rows = list_images(corpus, infrared=True)
    return choose_texts(corpus, rows, options.text, options.text_seed, needs_own=needs_own)


@dataclass(frozen=True, eq=False)
class RowTexts:
    """The texts of infrared images by corpus row."""

    texts: InfraredTexts
    place: IndexArray
    """(corpus rows,) place of each image's text."""


def embed_sides(
    embedder: Embedder,
    options: VisibleInfrared.Options,
    kinds: tuple[Query, ...],
    searches: Sequence[NamedSearch],
) -> tuple[dict[str, Encoded], RowTexts | None]:
    """Features by corpus row, of the images that a search needs: "visible", and each kind of query."""
    corpus = embedder.corpus
    needed = np.zeros(len(corpus), dtype=bool)
    for trial in (trial for line in searches for trial in line.search.trials):
        needed[trial.queries] = needed[trial.gallery] = True
    infrared = list_images(corpus, infrared=True)
    # Found for every image, so that a drawn text does not depend on the searches.
    texts = find_texts(corpus, options, kinds)
    texts = None if texts is None else texts.take(needed[infrared])
    infrared = infrared[needed[infrared]]
    visible = np.flatnonzero(needed & ~corpus.infrared())
    place = np.full(len(corpus), -1, dtype=np.int64)
    place[visible], place[infrared] = np.arange(len(visible)), np.arange(len(infrared))
    found = {"visible": embedder.embed("image", visible)}
    found |= embed_queries(embedder, infrared, texts, kinds)
    sides = {name: Encoded(vectors, place) for name, vectors in found.items()}
    return sides, None if texts is None else RowTexts(texts, place)


def list_asked(corpus: Corpus, line: NamedSearch, texts: RowTexts | None) -> list[Asked]:
    """The queries of every trial; those of visible images have no text."""
    everyone, asked = np.arange(len(corpus)), []
    texts = None if line.direction == "visible_to_infrared" else texts
    for trial in line.search.trials:
        image, gallery = everyone[trial.queries], everyone[trial.gallery]
        caption = None if texts is None else texts.texts.given[texts.place[image]]
        asked.append(Asked.of(corpus, image, gallery, caption=caption))
    return asked


def choose_sides(sides: dict[str, Encoded], kind: Query, direction: Direction) -> tuple[Encoded, Encoded]:
    """Who searches, and who is searched."""
    pair = (sides[kind], sides["visible"])
    return pair[::-1] if direction == "visible_to_infrared" else pair


def embed_queries(
    embedder: Embedder, infrared: IndexArray, texts: InfraredTexts | None, kinds: tuple[Query, ...]
) -> dict[str, Tensor]:
    """(N, D) of each kind; one pass serves all. Texts alone need no image, and each caption only once."""
    corpus, data = embedder.corpus, embedder.data
    if kinds == ("text",):
        assert texts is not None
        captions, place = np.unique(texts.given, return_inverse=True)
        features = embedder.embed("text", captions)
        return {"text": features[torch.from_numpy(place.reshape(-1)).to(features.device)]}
    tokens = None if texts is None else corpus_tokens(corpus, data, embedder.system.views().tokenizer)
    sender, length = Sender(embedder.device), data.text_length

    def read(places: IndexArray) -> Iterator[Batch]:
        for number, image in enumerate(embedder.read_images(infrared[places])):
            entries: Arrays = {}
            if texts is not None and tokens is not None:
                here = places[number * embedder.batch : (number + 1) * embedder.batch]
                entries["tokens"] = tokens.rows(texts.given[here], length)
                entries["longest_caption"] = tokens.find_longest(texts.given[here], length)
                if texts.own is not None:
                    entries["infrared_tokens"] = tokens.rows(texts.own[here], length)
                    entries["longest_infrared_caption"] = tokens.find_longest(texts.own[here], length)
            found = sender.send(entries)
            found["infrared_images"], found["identity"] = image["images"], image["identity"]
            found["infrared_index"] = image["image_index"]
            yield found

    return {**embedder.encode(len(infrared), kinds, read)}


def read_text(corpus: Corpus, found: RowTexts | None, row: int) -> str:
    """The text that an infrared image searches with, with a word on where it is from; empty for none."""
    if found is None:
        return ""
    number = int(found.texts.given[found.place[row]])
    owner = int(np.searchsorted(corpus.caption_offsets, number, side="right")) - 1
    caption = corpus.captions(owner)[number - int(corpus.caption_offsets[owner])]
    return caption if owner == row else f"ORACLE: {caption}"
