"""A corpus of small JPEG files, made by the test itself."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from tpr.config.schema import AugmentOptions, DataOptions
from tpr.data.tables.corpus import Corpus, offsets_of

SIZE = (24, 8)


def make_data(folder: Path, **options: object) -> DataOptions:
    """Options for 24 x 8 pixels, batches of 4 and a cache in the folder."""
    settings = {
        "root": folder,
        "cache": folder / "cache",
        "image_size": SIZE,
        "batch": 4,
        "text_length": 12,
        "augment": AugmentOptions(pad=2),
        **options,
    }
    return DataOptions(**settings)  # type: ignore[arg-type]


def make_corpus(
    folder: Path, captions: list[int], identity: list[int] | None = None, **facts: object
) -> Corpus:
    """One image per entry of `captions`, with so many captions; two images per identity by default."""
    rng = np.random.RandomState(0)
    columns: dict[str, list] = {"image": [], "captions": [], "attributes": []}
    for row, count in enumerate(captions):
        name = f"{row}.jpg"
        pixels = rng.randint(0, 256, (10, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((16, 40)).save(folder / name, quality=90)
        columns["image"].append(name)
        columns["captions"].append([f"image {row} caption {number}" for number in range(count)])
        columns["attributes"].append([row % 2, -1, 1] if row else [])
    table = pa.table(
        columns,
        pa.schema(
            [
                ("image", pa.string()),
                ("captions", pa.list_(pa.string())),
                ("attributes", pa.list_(pa.int8())),
            ]
        ),
    )
    return Corpus(
        **{  # type: ignore[arg-type]
            "name": "small_set",
            "split": "train",
            "root": folder,
            "table": table,
            "identity": np.array(identity or [row // 2 for row in range(len(captions))]),
            "caption_offsets": offsets_of(table.column("captions")),
            "has_identities": True,
            "fingerprint": f"small {captions}",
            **facts,
        }
    )
