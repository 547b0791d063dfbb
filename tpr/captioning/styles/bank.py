"""A bank of styles: which captions each has, and the same as instruction data in HAM's form.

A folder of it holds `styles.parquet` (a row per style), `instructions.json`, which `tpr style train` reads,
and, written last, `styles.json` with what made them.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tpr.captioning.listing import hash_file
from tpr.captioning.styles.clusters import Rows, cluster_dbscan, cluster_kmeans, sample_uniformly
from tpr.captioning.styles.features import FloatRows, StyleFeatures
from tpr.captioning.styles.options import ClusterOptions
from tpr.errors import ConfigError
from tpr.whole_files import open_whole, write_whole

STYLES, INSTRUCTIONS, ABOUT = "styles.parquet", "instructions.json", "styles.json"
SCHEMA = pa.schema(
    [
        ("style", pa.int32()),
        ("source", pa.string()),
        ("captions", pa.list_(pa.int64())),
        ("examples", pa.list_(pa.string())),
    ]
)
"""captions: rows of texts.parquet. examples: the style-only texts nearest to the style's middle."""
EXAMPLES = 4
IMAGE = "<image>\n"


class Style(NamedTuple):
    """One style: where it comes from, and the rows of its captions."""

    source: Literal["kmeans", "dbscan", "ups"]
    rows: Rows


def find_styles(features: StyleFeatures, options: ClusterOptions) -> list[Style]:
    """All styles, numbered by place: KMeans (or DBSCAN) first, then UPS; without `pooled` set by set."""
    every = np.arange(len(features.features), dtype=np.int64)
    parts = [every]
    if not options.pooled:
        names = np.array(features.texts.column("set").to_pylist())
        parts = [every[names == name] for name in dict.fromkeys(names.tolist())]
    return [
        Style(style.source, part[style.rows])
        for part in parts
        for style in _find_among(features.features[part], options)
    ]


def _find_among(rows: FloatRows, options: ClusterOptions) -> list[Style]:
    styles = []
    if options.dbscan:
        groups = cluster_dbscan(rows, distance=options.dbscan_distance, neighbours=options.dbscan_neighbours)
        styles += [Style("dbscan", group) for group in groups]
    elif options.kmeans:
        groups = cluster_kmeans(rows, options.kmeans, seed=options.seed, iterations=options.iterations)
        styles += [Style("kmeans", group) for group in groups]
    if options.ups:
        groups = sample_uniformly(
            rows,
            options.ups,
            members=options.ups_members,
            reach=options.ups_reach,
            metric=options.ups_metric,
            seed=options.seed,
        )
        styles += [Style("ups", group) for group in groups]
    return styles


def write_bank(
    folder: Path, features: StyleFeatures, options: ClusterOptions, instruction: str
) -> list[Style]:
    """Find styles and write the folder; instruction: what every example tells the model.

    Raises ConfigError where the folder holds styles already.
    """
    if (folder / ABOUT).exists():
        raise ConfigError(f"{folder}: holds styles already; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    styles = find_styles(features, options)
    texts = features.texts.column("text")
    columns = [
        list(range(len(styles))),
        [style.source for style in styles],
        [style.rows for style in styles],
        [texts.take(pa.array(find_middle(features, style.rows))).to_pylist() for style in styles],
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    with open_whole(folder / STYLES) as file:
        pq.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), file, compression="zstd")
    examples = _write_instructions(folder / INSTRUCTIONS, features, styles, instruction)
    about: dict[str, Any] = {
        "styles": len(styles),
        "examples": examples,
        "options": asdict(options),
        "features": features.about,
        "files": {name: hash_file(folder / name) for name in (STYLES, INSTRUCTIONS)},
    }
    write_whole(folder / ABOUT, json.dumps(about, indent=1, ensure_ascii=False) + "\n")
    return styles


def find_middle(features: StyleFeatures, rows: Rows) -> Rows:
    """The few rows nearest to the mean of a style's rows, each text once."""
    members = features.features[rows]
    order = rows[np.argsort(((members - members.mean(0)) ** 2).sum(1), kind="stable")]
    texts = features.texts.column("text").take(pa.array(order)).to_pylist()
    first = {text: place for place, text in reversed(list(enumerate(texts)))}
    return order[sorted(first.values())[:EXAMPLES]]


def _write_instructions(path: Path, features: StyleFeatures, styles: list[Style], instruction: str) -> int:
    """HAM's instruction data: a list with one record per caption of each style; returns their number."""
    total = 0
    with open_whole(path) as file:
        for record in list_records(features, styles, instruction):
            file.write((",\n" if total else "[\n").encode() + json.dumps(record).encode())
            total += 1
        file.write(b"\n]\n")
    return total


def list_records(
    features: StyleFeatures, styles: list[Style], instruction: str
) -> Iterator[dict[str, object]]:
    """Records as HAM's trainer reads them: class_id chooses the style, style_id only has to be there."""
    images = features.texts.column("image").to_pylist()
    captions = features.texts.column("caption").to_pylist()
    for number, style in enumerate(styles):
        for row in style.rows.tolist():
            yield {
                "id": f"{number}-{row}",
                "image": images[row],
                "conversations": [
                    {"from": "human", "value": IMAGE + instruction},
                    {"from": "gpt", "value": captions[row]},
                ],
                "class_id": number,
                "style_id": number,
            }
