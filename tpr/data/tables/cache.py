"""Parsed annotations kept as memory-mapped tables: parse once, open in a second ever after.

An entry's name is a hash of everything that parsing depends on: adapter and its version, options, data
root, and names, sizes and times of the annotation files. It is built in a temporary folder and renamed
into place; one process builds while the others wait, so nobody ever sees half an entry. Its files are
verified by checksums before they are mapped; an entry that does not fit is built anew.
A packed dataset (`tpr data pack`) in `<root>/<folder>/packed/` is read in place of annotation and images.
"""

import hashlib
import json
import logging
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tpr.config.schema import DataOptions
from tpr.data.adapters.base import Adapter, Counts
from tpr.data.samples.sample import SPLITS, DatasetTask, Split
from tpr.data.tables.columns import SplitWriter, open_split, read_identity, write_index
from tpr.data.tables.corpus import Corpus, map_files, take_rows
from tpr.data.tables.manifest import FORMAT, MANIFEST, Manifest, SplitFiles, load_manifest, save_manifest
from tpr.data.tables.repeats import join_repeats, rewrite
from tpr.data.tables.whole_folders import build_folder, find_lock, remove_leftovers
from tpr.errors import DataError
from tpr.home import find_cache_home
from tpr.locks import take_turns

logger = logging.getLogger(__name__)

PACKED = "packed"
LEFTOVER_SECONDS = 86_400


@dataclass(frozen=True)
class CacheEntry:
    """A parsed or packed dataset, ready to be mapped."""

    folder: Path
    manifest: Manifest
    root: Path
    label: str
    task: DatasetTask = DatasetTask()

    @property
    def splits(self) -> list[Split]:
        """The splits that hold images."""
        return [split for split in SPLITS if split in self.manifest.splits]

    @property
    def is_packed(self) -> bool:
        """Whether the images lie inside."""
        return self.folder.name == PACKED

    def open(self, split: Split) -> Corpus:
        """One split as a corpus; DataError if the dataset has none, or if its files are damaged."""
        if split not in self.manifest.splits:
            raise DataError(f"has no {split} split; it has: {', '.join(self.splits)}")
        try:
            corpus = open_split(self.folder, self.manifest, split, root=self.root, name=self.label)
        except DataError as error:
            remedy = "pack the dataset again" if self.is_packed else "start again"
            raise DataError(f"{error}; {remedy}") from None
        return replace(corpus, task=self.task)


def cache_folder(data: DataOptions) -> Path:
    """The folder that `data.cache` names, else `tpr` in the user's cache folder."""
    return data.cache or find_cache_home() / "tpr"


def open_entry(adapter: Adapter, data: DataOptions) -> CacheEntry:
    """The dataset's tables: packed, cached, or parsed now. Raises DataError in one line."""
    root = data.root
    packed = find_packed(adapter, root)
    if packed is not None:
        manifest = load_packed(adapter, packed)
        logger.info("%s: reading %s", adapter.label, packed)
        if not manifest.has_checksums:
            logger.info(
                "%s: packed by an older version, without checksums; packed again, its images are verified",
                adapter.label,
            )
        return CacheEntry(packed, manifest, root, adapter.label, adapter.task)
    folder = cache_folder(data) / "corpora" / f"{adapter.name}-{entry_key(adapter, root)}"
    try:
        manifest = _load_whole(folder)
    except DataError:
        manifest = _build_once(adapter, root, folder)
    for note in manifest.notes:
        logger.info("%s: %s", adapter.label, note)
    for warning in manifest.warnings:
        logger.warning("%s: %s", adapter.label, warning)
    return CacheEntry(folder, manifest, root, adapter.label, adapter.task)


def find_packed(adapter: Adapter, root: Path) -> Path | None:
    """The dataset's packed folder below this root, None if there is none.

    Raises DataError where it is there without its manifest: loose images may be others, or fewer.
    """
    folder = adapter.find_folder(root)
    if folder is None or (folder / PACKED / MANIFEST).is_file():
        return None if folder is None else folder / PACKED
    if any((folder / PACKED).glob("*.arrow")):
        raise DataError(
            f"{folder / PACKED}: holds Arrow files without their {MANIFEST}; put it back, pack the dataset "
            "again, or move this folder away to read loose images"
        )
    return None


def load_packed(adapter: Adapter, folder: Path) -> Manifest:
    """The manifest of a packed dataset; DataError if it is damaged or was packed with other options."""
    try:
        manifest = load_manifest(folder)
    except DataError as error:
        raise DataError(f"{error}; pack the dataset again") from None
    wanted = plain_options(adapter.options)
    # Which loose files are there means nothing here: every image lies inside.
    wanted.pop("on_missing_image", None)
    if manifest.adapter != adapter.name or manifest.version != adapter.version:
        raise DataError(f"{folder}: packed by {manifest.adapter} version {manifest.version}; pack it again")
    # What an older version did not ask for was empty.
    changed = [key for key, value in wanted.items() if manifest.options.get(key, type(value)()) != value]
    if changed:
        packed = ", ".join(f"{key}={manifest.options.get(key)}" for key in changed)
        asked = ", ".join(f"{key}={wanted[key]}" for key in changed)
        raise DataError(
            f"{folder}: packed with {packed}, asked for {asked}; pack again or move this folder away"
        )
    return manifest


def plain_options(options: Any) -> dict[str, Any]:
    """Options as they come back from JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(options), default=str))
    return plain


def entry_key(adapter: Adapter, root: Path) -> str:
    """Hash of everything that parsing depends on."""
    files = []
    for path in adapter.sources(root):
        facts = path.stat()
        # st_ctime: a program may set the other time back after it has changed a file, but not this one.
        files.append([str(path.absolute()), facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns])
    content = {
        "format": FORMAT,
        "adapter": adapter.name,
        "version": adapter.version,
        "options": plain_options(adapter.options),
        "root": str(root.absolute()),
        "state": adapter.describe_state(root),
        "files": files,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


def _load_whole(folder: Path) -> Manifest:
    """The manifest of an entry whose files are all as they were written. Raises DataError otherwise."""
    manifest = load_manifest(folder)
    for split in manifest.splits:
        open_split(folder, manifest, split, root=folder, name="")
    return manifest


def _build_once(adapter: Adapter, root: Path, folder: Path) -> Manifest:
    """The manifest of an entry that is missing or damaged: built here, or by a process that was faster."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with take_turns(find_lock(folder)):
            if folder.is_dir():
                try:
                    return _load_whole(folder)
                except DataError as error:
                    logger.warning("cached tables are damaged and are made again: %s", error)
                    shutil.rmtree(folder, ignore_errors=True)
            return _build(adapter, root, folder)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"the cache folder {folder.parent.parent} cannot be written ({reason}); "
            "set data.cache to a folder with space that you may write"
        ) from None


def _build(adapter: Adapter, root: Path, folder: Path) -> Manifest:
    sources = adapter.sources(root) or [adapter.folder(root)]
    logger.info("%s: parsing %s", adapter.label, ", ".join(map(str, sources)))
    remove_leftovers(folder, older_than_seconds=LEFTOVER_SECONDS)
    with build_folder(folder) as temporary:
        parse_into(adapter, root, temporary)
    return load_manifest(folder)


def parse_into(adapter: Adapter, root: Path, folder: Path) -> Manifest:
    """Parse a dataset into an empty folder. DataError in one line, OSError if it cannot be written."""
    writers: dict[Split, SplitWriter] = {}
    blank = 0
    for split, sample in adapter.parse(root):
        if split not in writers:
            writers[split] = SplitWriter(folder, split)
        writers[split].add(sample)
        blank += sum(not caption.strip() for caption in sample.captions)
    for writer in writers.values():
        writer.close()
    repeats = join_repeats(adapter, folder, {split: writer.shards.files for split, writer in writers.items()})
    splits: dict[Split, SplitFiles] = {}
    for split, writer in writers.items():
        files = _narrow(adapter, folder, split, writer.shards.files)
        known = write_index(folder, split, files, _digest(folder, files), labels=adapter.labels)
        splits[split] = replace(known, repeats=repeats[split])
    if not splits:
        raise DataError(f"{adapter.sources(root)[0]}: no image is left after cleaning")
    found = {s: Counts(known.identities, known.rows, known.captions) for s, known in splits.items()}
    warnings = adapter.review(found)
    if blank:
        warnings.append(f"{blank:,} captions are empty")
    manifest = Manifest(
        adapter=adapter.name,
        version=adapter.version,
        options=plain_options(adapter.options),
        has_identities=adapter.has_identities,
        notes=[*adapter.notes, *adapter.leftovers.describe()],
        warnings=warnings,
        splits=splits,
    )
    save_manifest(folder, manifest)
    return manifest


def _narrow(adapter: Adapter, folder: Path, split: Split, files: list[str]) -> list[str]:
    """Keep the training rows that the adapter's options draw; the whole table is written before."""
    if split != "train":
        return files
    table = map_files([folder / name for name in files])
    rows = adapter.choose_rows(read_identity(table))
    if rows is None or len(rows) == table.num_rows:
        return files
    with rewrite(folder, split, files) as writer:
        for batch in take_rows(table, rows).to_batches():
            writer.shards.write(batch)
    return files


def _digest(folder: Path, files: list[str]) -> str:
    digest = hashlib.sha256()
    for name in files:
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
