"""Side B's building blocks: small corpora on disk and the project's own objects around them."""

import itertools
import json
from pathlib import Path
from typing import Any

from benchmarks.inputs import draw_captions, draw_jpegs
from benchmarks.reference.dataset import Row
from benchmarks.reference.towers import Architecture
from tpr.config.evaluation import EvaluationOptions
from tpr.config.schema import Choice, DataOptions
from tpr.data.adapters import ADAPTERS
from tpr.data.tables.corpora import load_corpora
from tpr.data.tables.corpus import Corpus
from tpr.models.architecture import ClipArchitecture, ImageArchitecture, TextArchitecture
from tpr.models.clip import ClipOptions
from tpr.systems.base import Setting, System
from tpr.systems.irra import Irra, IrraOptions, Losses


def describe_towers(sizes: Architecture) -> ClipArchitecture:
    """The same towers in the project's words."""
    return ClipArchitecture(
        embed_dim=sizes.embedding,
        image=ImageArchitecture(
            width=sizes.image_width,
            layers=sizes.image_layers,
            heads=sizes.image_width // 64,
            patch=sizes.patch,
        ),
        text=TextArchitecture(width=sizes.text_width, layers=sizes.text_layers, heads=sizes.text_width // 64),
    )


def build_irra(sizes: Architecture, identities: int, *, masked_words: bool = True, **options: Any) -> System:
    """System `irra` with the losses of the published recipe, towers of the given sizes, and other options."""
    choice = IrraOptions(losses=Losses(sdm=1, id=1, mlm=float(masked_words)), **options)
    setting = Setting(
        image_size=sizes.image_size, text_length=sizes.text_length, identities=identities, captions=100_000
    )
    return Irra(choice, ClipOptions(architecture=describe_towers(sizes)), setting)


def write_cuhk_pedes(root: Path, images: int, distinct: int | None = None) -> list[Row]:
    """A CUHK-PEDES folder of drawn textures with two captions each, all for training; its published rows.

    Four images an identity. distinct: textures that are drawn and repeated; absent: all of them.
    Returns (identity from 0, image number, path, caption), a row per caption.
    """
    folder = root / "CUHK-PEDES" / "imgs" / "cam_a"
    folder.mkdir(parents=True)
    captions = draw_captions(2 * images)
    records: list[dict[str, Any]] = []
    rows: list[Row] = []
    files = itertools.cycle(draw_jpegs(min(images, distinct or images)))
    for number, file in enumerate(itertools.islice(files, images)):
        path = folder / f"{number:06d}.jpg"
        path.write_bytes(file)
        texts = captions[2 * number : 2 * number + 2]
        identity = number // 4
        records.append(
            {
                "split": "train",
                "captions": texts,
                "file_path": f"cam_a/{path.name}",
                "processed_tokens": [text.lower().rstrip(".").split() for text in texts],
                "id": identity + 1,
            }
        )
        rows += [(identity, number, str(path), text) for text in texts]
    (root / "CUHK-PEDES" / "reid_raw.json").write_text(json.dumps(records))
    return rows


def open_training(root: Path, name: str, **options: Any) -> tuple[Corpus, DataOptions]:
    """The training corpus of one set below `root`, cached there, and the options it was opened with."""
    data = DataOptions(
        root=root, cache=root / "cache", train=(Choice(name, ADAPTERS[name].Options()),), **options
    )
    corpus = load_corpora(data, EvaluationOptions(select_on="test"), seed=1).train
    assert corpus is not None
    return corpus, data
