"""Style features: each training caption as style-only text, and that text as CLIP's text tower sees it.

A folder of them holds `texts.parquet` (a row per caption), `features.npy` (N, D) in the same order and,
written last, `features.json` with what made them.
"""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tpr.captioning.listing import hash_file
from tpr.captioning.styles.options import EncoderOptions
from tpr.captioning.styles.rewriting import Rewritten
from tpr.config.schema import Choice, DataOptions
from tpr.data.tables.corpora import load_split
from tpr.data.tables.corpus import Corpus
from tpr.data.text.tokens import tokenize
from tpr.errors import CheckpointError, ConfigError, DataError
from tpr.models.architecture import find_architecture
from tpr.models.clip import ClipOptions, ClipTowers
from tpr.models.download import find_weights
from tpr.models.fitting import fit_state
from tpr.models.weights import read_checkpoint
from tpr.systems import load_system
from tpr.systems.clip_official import take_towers
from tpr.systems.dual_encoder import DualEncoder
from tpr.whole_files import open_whole, write_whole

logger = logging.getLogger(__name__)

TEXTS, FEATURES, ABOUT = "texts.parquet", "features.npy", "features.json"
SCHEMA = pa.schema(
    [
        ("set", pa.dictionary(pa.int32(), pa.string())),
        ("image", pa.string()),
        ("identity", pa.int64()),
        ("caption", pa.string()),
        ("text", pa.string()),
        ("by", pa.dictionary(pa.int32(), pa.string())),
    ]
)
"""One row per caption; image: path below the data root. text: style-only. by: what wrote it."""
DEFAULT_ARCHITECTURE = "ViT-B-16-quickgelu"
IMAGE_SIZE = (224, 224)
TEXT_LENGTH = 77
MINIMUM_SHARE = 0.9
Rewrite = Callable[[Sequence[str]], list[Rewritten]]
Encode = Callable[[Sequence[str]], npt.NDArray[np.float32]]
FloatRows = npt.NDArray[np.float32]


@dataclass(frozen=True)
class StyleFeatures:
    """A folder of style features as read."""

    folder: Path
    texts: pa.Table
    features: FloatRows
    """(N, D), a row per caption."""
    about: dict[str, Any]


def collect_captions(choices: Sequence[Choice], data: DataOptions) -> pa.Table:
    """Training captions of some datasets in their order, columns set, image, identity, caption."""
    tables = [_list_captions(load_split(choice, "train", data)) for choice in choices]
    table = pa.concat_tables(tables)
    if not table.num_rows:
        raise DataError(f"{data.root}: no image of these datasets has a caption")
    return table


def _list_captions(corpus: Corpus) -> pa.Table:
    rows = list(_walk(corpus))
    kinds = [SCHEMA.field(name) for name in ("image", "identity", "caption")]
    names = pa.array([corpus.name] * len(rows), pa.string()).dictionary_encode()
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    arrays = [pa.array(column, kind.type) for column, kind in zip(columns, kinds, strict=True)]
    return pa.Table.from_arrays([names, *arrays], names=["set", "image", "identity", "caption"])


def _walk(corpus: Corpus) -> Iterator[tuple[str, int, str]]:
    for batch in corpus.table.select(["image", "identity", "captions"]).to_batches():
        columns = batch.to_pydict()
        for image, identity, captions in zip(*columns.values(), strict=True):
            yield from ((image, identity, " ".join(caption.split())) for caption in captions)


def write_features(
    folder: Path, captions: pa.Table, rewrite: Rewrite, options: EncoderOptions, about: dict[str, Any]
) -> StyleFeatures:
    """Rewrite, encode, write; about: what a reader should know of the rewriting.

    Raises ConfigError where the folder holds features already.
    """
    check_new(folder)
    encode = load_encoder(options)  # before the rewriting, which may take hours
    folder.mkdir(parents=True, exist_ok=True)
    rewritten = rewrite(captions.column("caption").to_pylist())
    texts = [text for text, _ in rewritten]
    table = captions.append_column("text", pa.array(texts, pa.string()))
    by = pa.array([by for _, by in rewritten], pa.string()).dictionary_encode()
    table = table.append_column("by", by).combine_chunks().cast(SCHEMA)
    features = encode_texts(encode, texts, options)
    with open_whole(folder / TEXTS) as file:
        pq.write_table(table, file, compression="zstd")
    with open_whole(folder / FEATURES) as file:
        np.save(file, features, allow_pickle=False)
    about = {
        **about,
        "captions": len(texts),
        "weights": options.weights,
        "architecture": options.architecture,
        "normalise": options.normalise,
        "files": {name: hash_file(folder / name) for name in (TEXTS, FEATURES)},
    }
    write_whole(folder / ABOUT, json.dumps(about, indent=1, ensure_ascii=False) + "\n")
    return StyleFeatures(folder, table, features, about)


def check_new(folder: Path) -> None:
    """Raises ConfigError where a folder holds features already."""
    if (folder / ABOUT).exists():
        raise ConfigError(f"{folder}: holds style features already; choose another folder")


def encode_texts(encode: Encode, texts: Sequence[str], options: EncoderOptions) -> FloatRows:
    """(N, D) features of the end token in the joint space; long texts are cut. Each distinct text once."""
    distinct = list(dict.fromkeys(texts))
    place = {text: row for row, text in enumerate(distinct)}
    parts = [
        encode(distinct[start : start + options.batch]) for start in range(0, len(distinct), options.batch)
    ]
    features = np.concatenate(parts)
    if options.normalise:
        features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    rows: FloatRows = features[[place[text] for text in texts]].astype(np.float32)
    return rows


def load_encoder(options: EncoderOptions) -> Encode:
    """Texts -> (n, D) features, not normalised. Raises UserError for weights that cannot be had."""
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        towers, length = load_towers(options)
    except (CheckpointError, ConfigError) as error:
        # Written for the options of a run; here they go by other names.
        raise type(error)(str(error).replace("model.", "--encoder ")) from None
    towers.to(device).eval()

    @torch.inference_mode()
    def encode(texts: Sequence[str]) -> FloatRows:
        tokens = tokenize(list(texts), length).to(device)
        rows: FloatRows = towers.encode_text(tokens).pooled.float().cpu().numpy()
        return rows

    return encode


def load_towers(options: EncoderOptions) -> tuple[ClipTowers, int]:
    """CLIP's towers on the CPU and the tokens of a text, as a file says or an architecture of open_clip."""
    if Path(options.weights).exists() and options.architecture is None:
        system = load_system(Path(options.weights))
        if not isinstance(system, DualEncoder):
            raise CheckpointError(f"{options.weights}: has no text tower of CLIP")
        return system.base_model, system.setting.text_length
    clip = ClipOptions(architecture=options.architecture or DEFAULT_ARCHITECTURE, weights=options.weights)
    find_architecture(clip.architecture)  # an unknown name is told before its weights are looked for
    path = find_weights(clip)
    towers = ClipTowers(clip, image_size=IMAGE_SIZE, text_length=TEXT_LENGTH)
    state = take_towers(DualEncoder.official.rename(read_checkpoint(path).state))
    report = fit_state(towers, state, minimum_share=MINIMUM_SHARE, source=str(path))
    logger.info("%s: %s", path, report.render())
    return towers, TEXT_LENGTH


def read_features(folder: Path) -> StyleFeatures:
    """A folder of style features. Raises DataError where it is none or was changed."""
    path = folder / ABOUT
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        files = about["files"]
        for name in (TEXTS, FEATURES):
            if hash_file(folder / name) != files[name]:
                raise DataError(f"{folder / name}: was changed after it was written; make the features anew")
        texts = pq.read_table(folder / TEXTS)
        features = np.load(folder / FEATURES, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: not found; `tpr style features` makes it") from None
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowInvalid) as error:
        raise DataError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    return StyleFeatures(folder, texts, features, about)
