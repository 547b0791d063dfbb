"""The images of a plan: a memory-mapped Arrow file with one row per image, in a fixed order.

Columns: image (path below the root, with forward slashes, each once), identity (null where unknown), row
of the image in a packed corpus (null where it is a file), text to rephrase (null where the image itself
is asked about).
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from tpr.captioning.draws import hash_words
from tpr.config.resolved import plain_value
from tpr.config.schema import Choice, DataOptions
from tpr.config.typed import build_options
from tpr.data.adapters import ADAPTERS
from tpr.data.adapters.base import draw_rows
from tpr.data.adapters.folder import Folder, IdentityPlace, escape_name
from tpr.data.samples.sample import SPLITS, Split
from tpr.data.tables.corpus import Corpus
from tpr.errors import DataError
from tpr.whole_files import open_whole

logger = logging.getLogger(__name__)

ROWS_PER_BATCH = 16_384
COLUMNS = ["image", "identity", "captions", "infrared"]
PACKED = "picture"
"""Column that a packed corpus has."""
# The first column keeps the name that plans have had from the beginning.
SCHEMA = pa.schema(
    [("picture", pa.string()), ("identity", pa.int64()), ("row", pa.int64()), ("text", pa.string())]
)

Infrared = Literal["any", "only", "never"]
"""Images of which cameras."""


class ListedImage(NamedTuple):
    """One image."""

    image: str
    identity: int | None
    row: int | None = None
    text: str | None = None


class Source(NamedTuple):
    """Where images come from."""

    root: Path
    words: Mapping[str, object]
    """How the plan tells it."""
    entries: Callable[[], Iterator[ListedImage]]
    """Every image in order; may be called again."""


def folder_source(root: Path, identity: IdentityPlace) -> Source:
    """Every image below a folder, sorted by path."""
    if not root.is_dir():
        raise DataError(f"{root} is no folder; give a folder of images or the name of a dataset")
    whole = str(root.resolve())
    if escape_name(whole) != whole:
        raise DataError(f"{escape_name(whole)}: the folder's path is no UTF-8, which a plan needs; rename it")

    def walk() -> Iterator[ListedImage]:
        adapter = Folder(Folder.Options(path=Path(), identity=identity))
        for _, sample in adapter.parse(root):
            yield ListedImage(sample.image, sample.identity if adapter.has_identities else None)
        for line in adapter.notes:
            _say_once(f"{root}: {line}")
        for line in adapter.leftovers.describe():
            logger.info("%s: %s", root, line)

    return Source(root.resolve(), {"folder": root.name, "identity": identity}, walk)


@cache
def _say_once(line: str) -> None:
    """Images are walked twice where some are drawn."""
    logger.warning(line)


def adapter_source(
    choice: Choice,
    split: Split | Literal["all"],
    data: DataOptions,
    *,
    rephrases: bool = False,
    infrared: Infrared = "any",
) -> Source:
    """The images of one split of a dataset, or of all, each once; rephrases: with their first captions.

    Raises DataError where a packed dataset's images would lie in several tables.
    """
    words: dict[str, Any] = {"set": choice.name, "split": split, "options": plain_value(choice.options)}
    splits = [split] if split != "all" else [part for part in SPLITS if part in ADAPTERS[choice.name].counts]
    corpora = [load_source(words | {"split": part}, data.root) for part in splits]
    is_packed = PACKED in corpora[0].table.column_names and not rephrases
    if is_packed and split == "all":
        raise DataError(f"'{choice.name}' is packed split by split; make a plan of each with --split")
    fingerprint = "+".join(corpus.fingerprint for corpus in corpora)
    words |= {"fingerprint": fingerprint, "packed": is_packed, "rephrases": rephrases, "infrared": infrared}

    def walk() -> Iterator[ListedImage]:
        seen: set[int] = set()
        for corpus in corpora:
            yield from walk_corpus(corpus, seen, rephrases=rephrases, infrared=infrared)

    return Source(data.root.resolve(), words, walk)


def load_source(words: Mapping[str, Any], root: Path) -> Corpus:
    """The corpus that a plan's images come from."""
    # Besides the loader this needs torch, which status and merge do without.
    from tpr.data.tables.corpora import load_split

    name = str(words["set"])
    options = build_options(ADAPTERS[name].Options, words["options"], {}, name)
    return load_split(Choice(name, options), words["split"], DataOptions(root=root))


def walk_corpus(
    corpus: Corpus, seen: set[int], *, rephrases: bool, infrared: Infrared
) -> Iterator[ListedImage]:
    """The images of a corpus that were not seen yet, in its order, with published identities.

    seen: hashes of images, grows. rephrases: only those with a caption.
    """
    is_packed = PACKED in corpus.table.column_names
    row = -1
    for batch in corpus.table.select(COLUMNS).to_batches(max_chunksize=ROWS_PER_BATCH):
        columns = batch.to_pydict()
        for image, identity, captions, is_infrared in zip(*(columns[name] for name in COLUMNS), strict=True):
            row += 1
            key = hash_words(image)
            if (
                key in seen
                or (rephrases and not captions)
                or infrared == ("never" if is_infrared else "only")
            ):
                continue
            seen.add(key)
            yield ListedImage(
                image,
                identity if corpus.has_identities else None,
                row if is_packed and not rephrases else None,
                captions[0] if rephrases else None,
            )


def write_listing(path: Path, source: Source, images: int | None, seed: int) -> tuple[int, bool]:
    """Write the listing whole; returns the number of images and whether all have identities.

    images: how many are drawn at random, by seed; absent: all.
    """
    entries = source.entries()
    if images is not None:
        entries = draw_entries(source, images, seed)
    total, has_identities = 0, True
    batch: list[ListedImage] = []
    with open_whole(path) as file, pa.ipc.new_file(file, SCHEMA) as writer:
        for entry in entries:
            batch.append(entry)
            total += 1
            has_identities &= entry.identity is not None
            if len(batch) == ROWS_PER_BATCH:
                writer.write_batch(_to_batch(batch))
                batch = []
        if batch:
            writer.write_batch(_to_batch(batch))
    return total, has_identities


def draw_entries(source: Source, count: int, seed: int) -> Iterator[ListedImage]:
    """`count` entries at random, in their order."""
    total = sum(1 for _ in source.entries())
    chosen = iter(draw_rows(total, count, seed).tolist())
    wanted = next(chosen, None)
    for row, entry in enumerate(source.entries()):
        if row == wanted:
            yield entry
            wanted = next(chosen, None)


def _to_batch(entries: list[ListedImage]) -> pa.RecordBatch:
    rows = [dict(zip(SCHEMA.names, entry, strict=True)) for entry in entries]
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def open_listing(path: Path) -> pa.Table:
    """The mapped table. Raises DataError if it is no such file."""
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path}: cannot be read ({error}); make a new plan") from None


def hash_file(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
