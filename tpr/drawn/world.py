"""Drawing the world to disk: each dataset in a folder of its own, and a stamp that says what was drawn.

A dataset is drawn under a hidden name, entered in the stamp and then renamed: a folder of its published
name is always whole. A folder that the stamp does not name is somebody else's and is never touched. One
process draws below a folder at a time.
"""

import difflib
import json
import logging
import multiprocessing
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tpr import processes
from tpr.drawn.images import draw_image
from tpr.drawn.layouts import DEFAULT_IDENTITIES, DEFAULT_SETS, FOLDERS, PLANNERS
from tpr.drawn.plan import Plan, Shot
from tpr.errors import DataError
from tpr.locks import hold_made_folder
from tpr.whole_files import remove_partials, write_whole

logger = logging.getLogger(__name__)

VERSION = 1
STAMP = "drawn.json"


@dataclass(frozen=True)
class DrawnSet:
    """One dataset of the world, as the stamp keeps it."""

    folder: str
    version: int
    seed: int
    identities: int
    """Test identities per benchmark: the size of the world."""
    people: int | None
    """Identities in this dataset, None where it has no labels."""
    images: int
    captions: int


@dataclass(frozen=True)
class World:
    """The drawn datasets that were asked for."""

    out: Path
    sets: dict[str, DrawnSet]
    drawn_now: tuple[str, ...]
    """Those that were not there before."""


def draw_world(
    out: Path,
    *,
    sets: Sequence[str] | None = None,
    identities: int | None = None,
    seed: int = 0,
    workers: int = 2,
) -> World:
    """Draw the datasets (None: what the drawn recipes need; "all": every one) that are not there yet.

    identities: test identities of each benchmark; all other counts keep their proportion to it.
    Raises DataError for an unknown dataset, a folder that is not ours, or one drawn with other arguments, and
    BusyError while another process draws there.
    """
    names = check_names(sets)
    size = DEFAULT_IDENTITIES if identities is None else identities
    if size < 2:
        raise DataError(f"identities must be at least 2, got {size}")
    out = Path(out)
    try:
        with hold_made_folder(out):
            stamp = read_stamp(out)
            missing = [name for name in names if not _is_drawn(out, name, stamp, seed, size)]
            _draw_missing(out, missing, stamp, seed=seed, identities=size, workers=workers)
    except OSError as error:
        raise DataError(
            f"{out}: cannot draw there ({error.strerror or error}); choose another folder"
        ) from error
    if not missing:
        logger.info("%s is already drawn: %s", out, ", ".join(FOLDERS[name] for name in names))
    return World(out, {name: stamp[name] for name in names}, tuple(missing))


def _draw_missing(
    out: Path, missing: Sequence[str], stamp: dict[str, DrawnSet], *, seed: int, identities: int, workers: int
) -> None:
    """Draw these datasets and enter them in `stamp`; this process holds the folder."""
    remove_leftovers(out)
    started = time.monotonic()
    for name in missing:
        stamp[name] = _draw_set(out, name, stamp, seed=seed, identities=identities, workers=workers)
    if missing:
        images = sum(stamp[name].images for name in missing)
        logger.info("drew %d images into %s in %.0f s", images, out, time.monotonic() - started)


def check_names(sets: Sequence[str] | None) -> tuple[str, ...]:
    """The datasets that were asked for, once each."""
    if sets is None:
        return DEFAULT_SETS
    if "all" in sets:
        return tuple(PLANNERS)
    for name in sets:
        if name not in PLANNERS:
            near = difflib.get_close_matches(name, PLANNERS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(PLANNERS)}, all"
            raise DataError(f"unknown drawn dataset '{name}'; {hint}")
    return tuple(dict.fromkeys(sets))


def read_stamp(out: Path) -> dict[str, DrawnSet]:
    """What is drawn under `out`; nothing where there is no stamp."""
    path = out / STAMP
    if not path.is_file():
        return {}
    try:
        written = json.loads(path.read_text("utf-8"))["sets"]
        return {name: _read_entry(entry) for name, entry in written.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path}: not a stamp of this program; remove {out} or choose another folder"
        ) from error


def _read_entry(entry: dict[str, Any]) -> DrawnSet:
    """One dataset as the stamp keeps it. Raises TypeError for anything else."""
    # Before the words were changed, images were counted as pictures.
    found = DrawnSet(**{"images" if key == "pictures" else key: value for key, value in entry.items()})
    numbers = (found.version, found.seed, found.identities, found.people or 0, found.images, found.captions)
    if not all(type(number) is int for number in numbers):
        raise TypeError("a count is not a number")
    return found


def _is_drawn(out: Path, name: str, stamp: dict[str, DrawnSet], seed: int, identities: int) -> bool:
    """True if this very dataset is there; raises if something else is in its place."""
    folder = out / FOLDERS[name]
    if not folder.exists():
        return False
    if name not in stamp:
        raise DataError(
            f"{folder} exists but was not drawn by this program; move it away or choose another folder"
        )
    entry = stamp[name]
    found, asked = (entry.version, entry.seed, entry.identities), (VERSION, seed, identities)
    if found != asked:
        raise DataError(
            f"{folder} was drawn with version={found[0]} seed={found[1]} identities={found[2]}, asked for "
            f"version={asked[0]} seed={asked[1]} identities={asked[2]}; remove that folder or choose another"
        )
    return True


def _draw_set(
    out: Path, name: str, stamp: dict[str, DrawnSet], *, seed: int, identities: int, workers: int
) -> DrawnSet:
    """Draw one dataset next to its place, enter it in the stamp, put it in its place."""
    plan = PLANNERS[name](identities, seed)
    logger.info("drawing %s: %d images, %d captions", plan.folder, len(plan.shots), plan.captions)
    unfinished = find_unfinished(out, plan.folder)
    try:
        write_plan(plan, unfinished, workers)
        people, images = plan.identities, len(plan.shots)
        entry = DrawnSet(plan.folder, VERSION, seed, identities, people, images, plan.captions)
        write_stamp(out, stamp | {name: entry})
        unfinished.rename(out / plan.folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return entry


def find_unfinished(out: Path, folder: str) -> Path:
    """Where a dataset lies until it is whole."""
    return out / f".drawing-{folder}"


def remove_leftovers(out: Path) -> None:
    """Remove what killed processes left half-drawn. Raises OSError."""
    remove_partials(out)
    for folder in FOLDERS.values():
        unfinished = find_unfinished(out, folder)
        if unfinished.exists():
            shutil.rmtree(unfinished)


def write_plan(plan: Plan, folder: Path, workers: int) -> None:
    """Every image and annotation file of the plan below `folder`."""
    for parent in {(folder / shot.path).parent for shot in plan.shots}:
        parent.mkdir(parents=True, exist_ok=True)
    with _pool(workers) as run:
        for _ in run(partial(write_shot, folder), plan.shots):
            pass
    for path, content in plan.encoded_files():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def write_shot(folder: Path, shot: Shot) -> None:
    """Draw one image into its file."""
    path = folder / shot.path
    path.write_bytes(draw_image(shot.person, shot.view, path.suffix))


@contextmanager
def _pool(workers: int) -> Iterator[Any]:
    """`map` over processes; in this one where more would not help.

    Raises DataError where one of them is killed. Ctrl-C is this process's affair: the others finish what they
    have begun, and end without a word.
    """
    if workers < 2:
        yield map
        return
    context = multiprocessing.get_context(processes.choose_start_method("auto"))
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=processes.prepare_child, initargs=(signal.SIGTERM,)
    )
    try:
        yield partial(_map_in_pool, pool)
    except BrokenProcessPool:
        raise DataError(
            "a drawing process was killed; draw again, with --workers 1 where memory is short"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _map_in_pool(
    pool: ProcessPoolExecutor, function: Callable[[Any], Any], items: Sequence[Any]
) -> Iterator[Any]:
    with warnings.catch_warnings(), processes.hold_signals():
        # Newer Pythons warn of forking with threads: the children only draw, they take no lock of a thread.
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork.*")
        return pool.map(function, items, chunksize=32)


def write_stamp(out: Path, sets: dict[str, DrawnSet]) -> None:
    """Replace the stamp in one move."""
    text = json.dumps(
        {"version": VERSION, "sets": {name: asdict(entry) for name, entry in sets.items()}}, indent=2
    )
    write_whole(out / STAMP, text + "\n")
