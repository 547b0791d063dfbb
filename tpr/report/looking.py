"""A closer look at one evaluation: which captions are hard, and what its worst queries are."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np
import numpy.typing as npt
from prettytable import PrettyTable

from tpr.config.measures import MEASURES
from tpr.data.tables.corpus import Corpus, Flags, IndexArray
from tpr.errors import DataError
from tpr.evaluation.query_results import RETRIEVAL
from tpr.evaluation.query_table import QueryTable, RowLabel
from tpr.report.tables import format_markdown

SHOWN = ("r1", "map")
PARTS = 4
"""Groups of captions by length, about equally large."""
MOST_WORDS = 12
"""Words and attributes that get a line, the most frequent first."""
CAPTION_WIDTH = 60
QUERIES = "queries"


@dataclass(frozen=True, eq=False)
class Looked:
    """The queries of one row of the table that have a match, each once, as means over its trials."""

    image: IndexArray
    """(Q,) corpus row."""
    caption: IndexArray
    """(Q,) running caption number, -1 for images."""
    first: npt.NDArray[np.float64]
    """(Q,) place of the first match."""
    measures: npt.NDArray[np.float64]
    """(Q, 6) percent in the order of `RETRIEVAL`."""

    @classmethod
    def of(cls, table: QueryTable) -> "Looked":
        """A query that is asked again in another trial counts once."""
        matched = table.results.first > 0
        asked = np.column_stack([table.image, table.caption])[matched]
        values = np.column_stack([table.results.first[matched], table.results.measures()])
        queries, place = np.unique(asked, axis=0, return_inverse=True)
        sums = np.zeros((len(queries), values.shape[1]))
        np.add.at(sums, place.reshape(-1), values)
        means = sums / np.bincount(place.reshape(-1))[:, None]
        return cls(queries[:, 0], queries[:, 1], means[:, 0], means[:, 1:])


def look_at(
    found: Mapping[RowLabel, QueryTable],
    corpora: Mapping[str, Corpus],
    *,
    words: Sequence[str] = (),
    worst: int = 10,
    markdown: bool = False,
) -> str:
    """For each row of the table: measures by part of its queries, then its worst queries.

    words: those of captions that get a line each. Raises DataError where the queries are not the corpus's.
    """
    texts = []
    for label, table in found.items():
        corpus = corpora[label.dataset]
        check_fit(label, table, corpus)
        looked = Looked.of(table)
        captions = read_captions(corpus, looked.caption)
        lines = [
            [by, value, str(int(chosen.sum())), *format_means(looked, chosen)]
            for by, value, chosen in list_parts(looked, corpus, captions, words)
        ]
        titles = [QUERIES, *(MEASURES[name].title for name in SHOWN)]
        texts.append(draw(str(label), ("by", "part"), titles, lines, markdown=markdown))
        lines = list_worst(looked, corpus, captions, worst)
        title = f"{label}: worst queries"
        texts.append(draw(title, ("caption", "image"), ("first match", "AP"), lines, markdown=markdown))
    return "\n\n".join(texts)


def check_fit(label: RowLabel, table: QueryTable, corpus: Corpus) -> None:
    """Raise DataError where images, captions or people are not those of the corpus."""
    fits = table.image.max() < len(corpus) and table.caption.max() < corpus.caption_count
    if not fits or not np.array_equal(corpus.identity[table.image], table.results.identity):
        raise DataError(
            f"{label}: the queries are not those of {corpus.root}; name the data that was measured with "
            "data.root=FOLDER, or evaluate again"
        )


def read_captions(corpus: Corpus, numbers: IndexArray) -> list[str]:
    """The captions of these running numbers, empty where there is none."""
    owners = np.searchsorted(corpus.caption_offsets, numbers, side="right") - 1
    return [
        corpus.captions(int(owner))[int(number - corpus.caption_offsets[owner])] if number >= 0 else ""
        for owner, number in zip(owners, numbers, strict=True)
    ]


def list_parts(
    looked: Looked, corpus: Corpus, captions: Sequence[str], words: Sequence[str]
) -> Iterator[tuple[str, str, Flags]]:
    """By what, which part, and the queries of it: all, by caption length, by word, by attribute label."""
    yield "all", "", np.ones(len(captions), dtype=np.bool_)
    if any(captions):
        lengths = np.array([len(caption.split()) for caption in captions])
        bounds = np.unique(np.quantile(lengths, np.arange(1, PARTS) / PARTS, method="inverted_cdf"))
        parts = np.searchsorted(bounds, lengths)
        for part in np.unique(parts):
            least, most = lengths[parts == part].min(), lengths[parts == part].max()
            span = f"{least} to {most}" if least < most else f"{most}"
            yield "caption length", f"{span} words", parts == part
        said = [set(re.findall(r"[\w-]+", caption.lower())) for caption in captions]
        flags = {word: np.array([word in own for own in said]) for word in words}
        for word, chosen in list_frequent(flags):
            yield "word", word, chosen
    if "attributes" in corpus.table.column_names:
        labels = corpus.table.column("attributes")
        own = [tuple(labels[int(row)].as_py() or ()) for row in looked.image]
        flags = {
            name_label(corpus, number, value): np.array(
                [len(row) > number and row[number] == value for row in own]
            )
            for number, value in {pair for row in set(own) for pair in enumerate(row)}
        }
        for name, chosen in list_frequent(flags):
            yield "attribute", name, chosen


def name_label(corpus: Corpus, number: int, value: int) -> str:
    """An attribute with its value, by their names where the dataset declares them."""
    declared = corpus.task.attributes
    if number >= len(declared):
        return f"{number}: {value}"
    attribute = declared[number]
    return f"{attribute.name}: {attribute.values[value] if value >= 0 else 'unknown'}"


def list_frequent(flags: Mapping[str, Flags]) -> list[tuple[str, Flags]]:
    """The most frequent names that any query has, with their queries."""
    order = sorted(flags, key=lambda name: (-int(flags[name].sum()), name))
    return [(name, flags[name]) for name in order[:MOST_WORDS] if flags[name].any()]


def format_means(looked: Looked, chosen: Flags) -> list[str]:
    """Means of `SHOWN` in percent over the chosen queries, two decimals."""
    means = looked.measures[chosen].mean(axis=0)
    return [f"{means[RETRIEVAL.index(name)]:.2f}" for name in SHOWN]


def list_worst(looked: Looked, corpus: Corpus, captions: Sequence[str], count: int) -> list[list[str]]:
    """The queries whose first match stands furthest down: caption, image, its place, average precision."""
    precision = looked.measures[:, RETRIEVAL.index("map")]
    order = np.lexsort((precision, -looked.first))[:count]
    return [
        [captions[row], corpus.image_path(int(looked.image[row])), f"{looked.first[row]:g}"]
        + [f"{precision[row]:.2f}"]
        for row in order.tolist()
    ]


def draw(
    title: str, heads: Sequence[str], titles: Sequence[str], lines: Sequence[Sequence[str]], *, markdown: bool
) -> str:
    """A table with a title, texts to the left, numbers to the right."""
    if markdown:
        return f"{title}:\n\n{format_markdown(heads, titles, lines)}"
    table = PrettyTable([*heads, *titles], title=title)
    table.align = "r"
    for head in heads:
        table.align[head] = "l"
    table.add_rows([[fill(line[0], CAPTION_WIDTH), *line[1:]] for line in lines])
    return str(table.get_string())
