"""The folder of one run: found again by the same configuration, never overwritten by another.

A run folder alone reproduces its run: config.yaml holds every option, resolved, and its first line the
fingerprint by which a second start recognises it.
"""

import shutil
from dataclasses import replace
from pathlib import Path

from tpr import distributed
from tpr.config.schema import Experiment
from tpr.config.typed import dump_yaml, fingerprint
from tpr.errors import TrainingError
from tpr.whole_files import write_whole

CONFIG_FILE = "config.yaml"
LOG_FILE = "log.txt"
RESULTS_FILE = "results.json"
MARK = "# fingerprint: "


def find_folder(experiment: Experiment) -> Path:
    """The newest folder of this very configuration, else the first free `<name>`, `<name>-2`, ..."""
    output = experiment.runtime.output
    name = experiment.name or "run"
    wanted = fingerprint(experiment)
    found: Path | None = None
    number = 1
    while (folder := output / (name if number == 1 else f"{name}-{number}")).exists():
        if read_fingerprint(folder) == wanted:
            found = folder
        number += 1
    if found is not None and experiment.runtime.resume == "auto":
        return found
    return folder


def read_fingerprint(folder: Path) -> str | None:
    """What the first line of a run's config.yaml says; None where there is no such line."""
    try:
        with (folder / CONFIG_FILE).open(encoding="utf-8") as file:
            line = file.readline().strip()
    except OSError:
        return None
    return line.removeprefix(MARK) if line.startswith(MARK) else None


def open_folder(folder: Path, experiment: Experiment) -> Experiment:
    """Create the folder with its config.yaml; returns the experiment under the folder's own name.

    Every rank may call it, the main one writes. Raises TrainingError where that is impossible.
    """
    named = replace(experiment, name=folder.name)
    if not distributed.is_main_rank():
        return named
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / CONFIG_FILE).exists():
            write_whole(folder / CONFIG_FILE, f"{MARK}{fingerprint(experiment)}\n{dump_yaml(named)}")
    except OSError as error:
        raise TrainingError(
            f"{folder}: the run folder cannot be written ({error.strerror}); free or unlock it, "
            "or choose another with runtime.output=FOLDER"
        ) from error
    return named


def forget_unstarted(folder: Path) -> None:
    """Remove the folder of a run that failed before it began: a second try would be numbered beside it."""
    if distributed.is_main_rank() and {path.name for path in folder.glob("*")} <= {CONFIG_FILE, LOG_FILE}:
        shutil.rmtree(folder, ignore_errors=True)
