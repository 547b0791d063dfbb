"""The one rule of what other programs leave in folders of data, and listings and walks that follow it.

Never data is what has a hidden name (`._1.jpg`, `.DS_Store`, `.ipynb_checkpoints/`) or a name that file
managers, archivers and network drives give to their own files. The rule is for what is found by looking; a
file that the user or an annotation names is taken as it is.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tpr.errors import DataError

OTHERS = frozenset({"@eadir", "__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "#recycle"})
"""Names in small letters that are another program's, like all that begin with a dot."""


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name was left by another program."""
    return name.startswith(".") or name.lower() in OTHERS


@dataclass
class Leftovers:
    """What was passed over, by folder, so that looking twice counts once."""

    counts: dict[str, int] = field(default_factory=dict)
    first: str = ""
    links: set[str] = field(default_factory=set)
    """Links to folders that are walked without them."""

    def sort_out(self, folder: Path, names: Sequence[str]) -> list[str]:
        """The names that are data, sorted; the others are counted."""
        kept = sorted(name for name in names if not is_leftover(name))
        if len(kept) < len(names):
            self.counts[str(folder)] = len(names) - len(kept)
            self.first = self.first or str(folder / min(name for name in names if is_leftover(name)))
        return kept

    def describe(self) -> list[str]:
        """Lines that tell what was passed over; none where nothing was."""
        lines = []
        if self.counts:
            lines.append(
                f"{sum(self.counts.values()):,} files or folders of other programs were passed over, "
                f"the first is {self.first}"
            )
        if self.links:
            lines.append(
                f"{len(self.links):,} links to folders that are read already were passed over, "
                f"the first is {min(self.links)}"
            )
        return lines


def list_files(folder: Path, suffixes: Sequence[str], leftovers: Leftovers) -> list[Path]:
    """The files with these suffixes in a folder, sorted by name; none where there is no such folder."""
    return [
        folder / entry.name
        for entry in _scan(folder, leftovers)
        if entry.name.lower().endswith(tuple(suffixes)) and entry.is_file()
    ]


def list_folders(folder: Path, leftovers: Leftovers) -> list[Path]:
    """The folders in a folder, sorted by name; none where there is no such folder."""
    return [folder / entry.name for entry in _scan(folder, leftovers) if entry.is_dir()]


def _scan(folder: Path, leftovers: Leftovers) -> list[os.DirEntry[str]]:
    if not folder.is_dir():
        return []
    try:
        with os.scandir(folder) as entries:
            found = {entry.name: entry for entry in entries}
    except OSError as error:
        raise _explain(error) from None
    return [found[name] for name in leftovers.sort_out(folder, list(found))]


def _explain(error: OSError) -> DataError:
    return DataError(f"{error.filename}: the folder cannot be read: {error.strerror}; allow reading it")


def walk_files(root: Path, suffixes: Sequence[str], leftovers: Leftovers) -> Iterator[Path]:
    """The files with these suffixes anywhere below a folder, sorted by path.

    A link to a folder elsewhere is followed, to each folder once; a link to a folder that is walked without
    it is passed over, so that no file comes twice and no circle is walked. Raises DataError for a folder that
    cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise _explain(error)

    whole = root.resolve()
    visited = {_identify(whole)}
    for place, folders, names in os.walk(root, onerror=refuse, followlinks=True):
        here = Path(place)
        kept = set(leftovers.sort_out(here, [*folders, *names]))
        folders[:] = sorted(name for name in folders if name in kept)
        folders[:] = [name for name in folders if _is_new(here / name, whole, visited, leftovers)]
        for name in sorted(kept.intersection(names)):
            if name.lower().endswith(tuple(suffixes)):
                yield here / name


def _identify(folder: Path) -> tuple[int, int]:
    facts = folder.stat()
    return facts.st_dev, facts.st_ino


def _is_new(folder: Path, whole: Path, visited: set[tuple[int, int]], leftovers: Leftovers) -> bool:
    """Whether a folder is to be walked; remembers that it was."""
    if folder.is_symlink():
        target = folder.resolve()
        below = target.relative_to(whole).parts if target.is_relative_to(whole) else None
        if below is not None and not any(map(is_leftover, below)):
            leftovers.links.add(str(folder))
            return False
    identity = _identify(folder)
    if identity in visited:
        leftovers.links.add(str(folder))
        return False
    visited.add(identity)
    return True
