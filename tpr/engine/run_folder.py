"""The folder of one run and its small files; `claim.py` says which process works in which folder.

A run folder alone reproduces its run: config.yaml holds every option, resolved, and its first line marks it.
"""

import errno
import json
import os
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from tpr import distributed
from tpr.config.resolved import dump_yaml, fingerprint
from tpr.config.schema import Experiment
from tpr.errors import DataError, TrainingError
from tpr.locks import LOCK_FILE
from tpr.whole_files import PARTIAL, write_whole

CONFIG_FILE = "config.yaml"
LOG_FILE = "log.txt"
RESULTS_FILE = "results.json"
QUERIES_FILE = "queries.parquet"
MARK = "# fingerprint: "
LONGEST_PATH = 200
"""Letters of a path that a message shows."""


def read_fingerprint(folder: Path) -> str | None:
    """What the first line of a run's config.yaml says; None where there is no such line."""
    try:
        with (folder / CONFIG_FILE).open(encoding="utf-8", errors="replace") as file:
            line = file.readline(LONGEST_PATH).strip()
    except OSError:
        return None
    return line.removeprefix(MARK) if line.startswith(MARK) else None


def open_folder(folder: Path, experiment: Experiment) -> bool:
    """Make the folder of a run with its config.yaml in it, in one step; False where the name is taken.

    Raises TrainingError if it cannot be written.
    """
    if is_taken(folder):
        return False
    text = f"{MARK}{fingerprint(experiment)}\n{dump_yaml(replace(experiment, name=folder.name))}"
    made = folder.with_name(f".{os.getpid()}-{uuid4().hex[:8]}{PARTIAL}")
    try:
        made.mkdir(parents=True)
        write_whole(made / CONFIG_FILE, text)
        made.rename(folder)
    except OSError as error:
        shutil.rmtree(made, ignore_errors=True)
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return False
        raise refuse_folder(folder, error) from error
    return True


def forget_unstarted(folder: Path) -> None:
    """Remove the folder of a run that failed before it began: a second try would get another number."""
    if not distributed.is_main_rank():
        return
    if {path.name for path in folder.glob("*")} <= {CONFIG_FILE, LOG_FILE, LOCK_FILE}:
        # Renamed first, so that nobody finds half a folder.
        gone = folder.with_name(f".{os.getpid()}-{uuid4().hex[:8]}{PARTIAL}")
        with suppress(OSError):
            folder.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)


def is_finished(folder: Path) -> bool:
    """True where a whole run has left its results. Raises DataError for a file that cannot be read."""
    path = folder / RESULTS_FILE
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        return bool(content["finished"])
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise DataError(
            f"{path}: not the results of a run; remove the file and write it anew with: "
            f"tpr train {folder / CONFIG_FILE}"
        ) from None


def is_taken(folder: Path) -> bool:
    """Whether there is something of that name. Raises TrainingError for a name that no folder can have."""
    try:
        return folder.exists()
    except OSError as error:
        raise refuse_folder(folder, error) from error


def refuse_folder(folder: Path, error: OSError) -> TrainingError:
    """The one line for a run folder that cannot be made."""
    shown = str(folder)
    shown = shown if len(shown) <= LONGEST_PATH else f"{shown[:LONGEST_PATH]}..."
    return TrainingError(
        f"{shown}: the run folder cannot be written ({error.strerror}); free or unlock it, "
        "or choose another with runtime.output=FOLDER"
    )
