"""Which folder a run works in: found again by the same configuration, held by one process at a time."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from tpr import distributed
from tpr.config.changeable import drop_changeable, find_differences
from tpr.config.reader import read_tree
from tpr.config.schema import Experiment
from tpr.config.typed import build_experiment, fill_protocols, fingerprint, to_tree
from tpr.engine.run_folder import CONFIG_FILE, is_finished, is_taken, open_folder, read_fingerprint
from tpr.errors import ConfigError, UserError
from tpr.locks import hold_folder
from tpr.systems import TABLES
from tpr.whole_files import remove_partials

SHOWN_DIFFERENCES = 3
Result = TypeVar("Result")


@contextmanager
def enter_folder(experiment: Experiment) -> Iterator[Path]:
    """The folder of a run, made if it is new, and held as long as the context lasts if it is not finished.

    Every rank must enter; the main one alone looks and writes. Raises, on every rank, BusyError if another
    process is at work there, and other UserErrors in one line.
    """
    with ExitStack() as held:
        yield Path(ask_main_rank(lambda: str(claim_folder(experiment, held))))


def ask_main_rank(action: Callable[[], Result]) -> Result:
    """What the main process finds, on every process; a UserError is raised on all of them."""
    outcome: Result | UserError | None = None
    if distributed.is_main_rank():
        try:
            outcome = action()
        except UserError as error:
            outcome = error
    found: Result | UserError = distributed.share_object(outcome)
    if isinstance(found, UserError):
        raise found
    return found


def claim_folder(experiment: Experiment, held: ExitStack) -> Path:
    """Find or make the folder and lock it until `held` ends; one that is finished is only found."""
    while True:
        folder = find_folder(experiment)
        may_go_on = experiment.runtime.resume == "auto"
        if not open_folder(folder, experiment) and not (may_go_on and is_run_of(folder, experiment)):
            # Another process took this name between the last two lines.
            continue
        if is_finished(folder):
            return folder
        held.enter_context(hold_folder(folder))
        # Another process may have taken its failed start away before this one held it.
        if (folder / CONFIG_FILE).exists():
            remove_partials(folder)
            return folder


def find_folder(experiment: Experiment) -> Path:
    """The newest folder of this very configuration, else the first free `<name>`, `<name>-2`, ...

    Raises ConfigError for a folder that claims to be of this configuration and is damaged.
    """
    output = experiment.runtime.output
    name = experiment.name or "run"
    found: Path | None = None
    number = 1
    while is_taken(folder := output / (name if number == 1 else f"{name}-{number}")):
        if is_run_of(folder, experiment):
            found = folder
        number += 1
    if found is not None and experiment.runtime.resume == "auto":
        return found
    return folder


def is_run_of(folder: Path, experiment: Experiment) -> bool:
    """Whether a folder holds a run of a configuration, whatever its changeable options.

    The options in config.yaml decide and not its first line, which an older version made otherwise. Raises
    ConfigError if that line is of this configuration and the options are not.
    """
    stored, filled = read_fingerprint(folder), fill_protocols(experiment, TABLES)
    is_marked = stored in (fingerprint(experiment), fingerprint(filled))
    if stored is None:
        return False
    path, advice = folder / CONFIG_FILE, "put the file back, or move the folder away to start anew"
    try:
        found = build_experiment(read_tree(path).values, TABLES)
    except ConfigError as error:
        if is_marked:
            raise ConfigError(f"{error}; this is the run's own record of its options: {advice}") from None
        return False
    if fingerprint(found) == fingerprint(filled):
        return True
    if is_marked:
        raise ConfigError(
            f"{path}: its options are not those of the run ({compare(found, filled)}); {advice}"
        )
    return False


def compare(found: Experiment, wanted: Experiment) -> str:
    """The first few options by which two experiments are different runs."""
    one, other = (drop_changeable(to_tree(experiment), Experiment) for experiment in (found, wanted))
    differences = find_differences(one, other)
    return ", ".join(differences[:SHOWN_DIFFERENCES]) + (", ..." * (len(differences) > SHOWN_DIFFERENCES))
