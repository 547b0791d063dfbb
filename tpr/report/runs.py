"""Run folders read back for tables and images over several runs, and which runs are seeds of one another.

Read as plain trees, not as typed options: a run of an older version must still be readable.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from tpr.config.changeable import drop_changeable
from tpr.config.published import PublishedOptions
from tpr.config.reader import read_tree
from tpr.config.schema import Experiment
from tpr.config.typed import build_options
from tpr.engine.run_folder import CONFIG_FILE, RESULTS_FILE, read_fingerprint
from tpr.errors import ConfigError, DataError
from tpr.evaluation.rows import Results, Row
from tpr.report.journal import JOURNAL_FILE, read_journal
from tpr.report.published import tabulate_published
from tpr.report.tables import compare_runs, join_before_and_after

CLOSING = "best"
"""The split under which a journal keeps the closing evaluation of the test sets."""


class LossPoint(NamedTuple):
    """The mean loss since the point before."""

    epoch: int
    step: int
    loss: float


class ScorePoint(NamedTuple):
    """One evaluation."""

    epoch: int
    step: int
    split: str
    """val, test, or `CLOSING`."""
    r1: float
    """R@1 from text to image, averaged over datasets."""


class History(NamedTuple):
    """What a journal tells of the course of a run."""

    losses: tuple[LossPoint, ...]
    scores: tuple[ScorePoint, ...]


class Closing(NamedTuple):
    """What results.json holds."""

    results: Results
    """Direct transfer and fine-tuned where a run has both."""
    epoch: int
    """The epoch that best.pt is of."""
    is_whole: bool
    """False where `runtime.max_steps` cut the run."""


@dataclass(frozen=True)
class Run:
    """What is known of one run."""

    label: str
    seed: int
    science: str
    """The options that make a run but seed and numbered splits: the same in runs to be averaged."""
    epochs: int
    has_tests: bool
    """False where `data.test` is empty: such a run ends without results."""
    history: History
    closing: Closing | None
    """None where the run is not finished."""
    split: int | None = None
    """Number of the split of its datasets, where they are published in several."""
    published: tuple[PublishedOptions, ...] = ()
    """What a paper prints for its recipe."""

    @property
    def cut_step(self) -> int | None:
        """The step at which `runtime.max_steps` cut the run; None for others."""
        if self.closing is None or self.closing.is_whole:
            return None
        return max((point.step for point in self.history.scores if point.split == CLOSING), default=0)

    @property
    def kin(self) -> tuple[str, ...]:
        """What runs must share to be seeds of one another; a run that is not finished is alone."""
        return (self.science, self.label if self.closing is None else str(self.cut_step))


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed or split alone, or a single one."""

    label: str
    runs: tuple[Run, ...]


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """The runs of these folders, or of files in them, each once. Raises ConfigError or DataError in one line.

    A run is labelled by its folder's name, or by its path where another one has the same name.
    """
    folders: dict[Path, Path] = {}
    for path in paths:
        folder = locate_run(path)
        folders.setdefault(folder.resolve(), folder)
    names = Counter(resolved.name for resolved in folders)
    return [
        read_run(folder, resolved.name if names[resolved.name] == 1 else str(folder))
        for resolved, folder in folders.items()
    ]


def locate_run(path: Path) -> Path:
    """The run folder that a path names. Raises ConfigError where there is none."""
    inside: list[Path] = []
    try:
        folder = path.parent if path.is_file() else path
        if read_fingerprint(folder) is not None:
            return folder
        found = "a file that lies in no run folder" if path.is_file() else "a folder of something else"
        found = found if path.exists() else "no such folder"
        inside = [config.parent for config in sorted(folder.glob(f"*/{CONFIG_FILE}"))]
    except OSError as error:
        found = f"cannot be read ({error.strerror})"
    if inside:
        advice = f"name those inside, such as {inside[0]}"
    else:
        advice = f"`tpr train` writes such a folder, with a {CONFIG_FILE} that begins with a fingerprint"
    raise ConfigError(f"{path}: {found}; expected a run folder, or a file in one: {advice}")


def read_run(folder: Path, label: str) -> Run:
    """One run folder. Raises ConfigError or DataError where a file in it is damaged."""
    values = read_tree(folder / CONFIG_FILE).values
    tree = drop_changeable(values, Experiment)
    try:
        seed, split = int(tree.pop("seed")), take_split(tree["data"])
        science = json.dumps(tree, sort_keys=True)
        return Run(
            label=label,
            seed=seed,
            science=science,
            epochs=int(tree["schedule"]["epochs"]),
            has_tests=bool(tree["data"]["test"]),
            history=read_history(folder / JOURNAL_FILE),
            closing=read_closing(folder),
            split=split,
            published=read_published(values),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{folder / CONFIG_FILE}: not the options of a run ({describe_error(error)}); expected all of "
            "them, as `tpr train` writes them"
        ) from None


def read_published(values: Mapping[str, Any]) -> tuple[PublishedOptions, ...]:
    """What a run's configuration says that a paper prints; nothing in those of older versions."""
    rows = values.get("report", {}).get("published", ())
    return tuple(build_options(PublishedOptions, row, {}, "report.published") for row in rows)


def take_split(data: dict[str, Any]) -> int | None:
    """Remove the number of the split from every dataset, and return it; None where no dataset is numbered."""
    choices = [choice for choice in (*data["train"], *data["test"]) if isinstance(choice, dict)]
    splits = [choice.pop("split") for choice in choices if isinstance(choice.get("split"), int)]
    return min(splits, default=None)


def read_history(path: Path) -> History:
    """Losses and evaluations of a journal, none where there is no file. Raises DataError in one line."""
    losses, scores = [], []
    try:
        for event in read_journal(path):
            if event["kind"] == "step":
                loss = float(event["losses"]["loss"])
                losses.append(LossPoint(int(event["epoch"]), int(event["step"]), loss))
            elif event["kind"] == "evaluation":
                r1 = fmean(map(main_measure, Results.from_json(event).list_deciding()))
                scores.append(ScorePoint(int(event["epoch"]), int(event["step"]), str(event["split"]), r1))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not the journal of a run ({describe_error(error)}); leave this run out"
        ) from None
    return History(tuple(losses), tuple(scores))


def main_measure(row: Row) -> float:
    """R@1, or what stands first where it was not measured."""
    return row.measures["r1"] if "r1" in row.measures else next(iter(row.measures.values()))


def read_closing(folder: Path) -> Closing | None:
    """The closing results of a run; None where it has none yet. Raises DataError in one line."""
    path = folder / RESULTS_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        results = Results.from_json(content["results"])
        if content["before"]:
            results = join_before_and_after(Results.from_json(content["before"]), results)
        return Closing(results, int(content["best_epoch"]), bool(content["finished"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not the results of a run ({describe_error(error)}); remove the file and write it anew "
            f"with: tpr train {folder / CONFIG_FILE}"
        ) from None


def describe_error(error: Exception) -> str:
    """What is wrong with a file, in a few words."""
    if isinstance(error, KeyError):
        return f"no {error.args[0]!r} in it"
    if isinstance(error, OSError):
        return str(error.strerror)
    return str(error)


def group_seeds(runs: Sequence[Run]) -> list[Group]:
    """Runs that differ in their seed or split alone, together; a repeat of the same is another group."""
    members: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        number = 1
        draw = (run.seed, run.split)
        while any(draw == (other.seed, other.split) for other in members.get((*run.kin, str(number)), [])):
            number += 1
        members.setdefault((*run.kin, str(number)), []).append(run)
    short = [shorten_labels(found) for found in members.values()]
    return [
        Group(label if short.count(label) == 1 else join_labels(found), tuple(found))
        for label, found in zip(short, members.values(), strict=True)
    ]


def shorten_labels(runs: Sequence[Run]) -> str:
    """What the labels of a group have in common, with the number of seeds; a single run keeps its own."""
    if len(runs) == 1:
        return runs[0].label
    names = [re.sub(rf"-seed{run.seed}(?=(-\d+)?$)", "", run.label) for run in runs]
    common = commonprefix(names)
    if any(name[len(common) :][:1].isalnum() for name in names):
        # The names part within a word: `run-12` and `run-13` have `run` in common.
        common = re.sub(r"[^\W_]+$", "", common)
    return f"{common.rstrip('-_. /') or names[0]} ({count_draws(runs)})"


def join_labels(runs: Sequence[Run]) -> str:
    """All labels of a group, where another one has the same in common."""
    labels = ", ".join(run.label for run in runs)
    return labels if len(runs) == 1 else f"{labels} ({count_draws(runs)})"


def count_draws(runs: Sequence[Run]) -> str:
    """How many runs there are, and whether they are seeds, splits or both."""
    seeds, splits = len({run.seed for run in runs}), len({run.split for run in runs})
    return f"{len(runs)} {'seeds' if splits == 1 else 'splits' if seeds == 1 else 'runs'}"


def tabulate_runs(groups: Sequence[Group], *, each: bool = False, markdown: bool = False) -> str:
    """The table over runs; each: the single runs stand below the row of their mean."""
    rows: dict[str, list[Results]] = {}
    for group in groups:
        rows[group.label] = list_results(group.runs)
        if each and len(group.runs) > 1:
            rows |= {f"  {run.label}": list_results([run]) for run in group.runs}
    states = [describe_state(run) for group in groups for run in group.runs]
    table = compare_runs(rows, notes=[state for state in states if state], markdown=markdown)
    gaps = [
        f"{group.label}:\n{tabulate_published(published, list_results(group.runs), markdown=markdown)}"
        for group in groups
        if (published := group.runs[0].published)
    ]
    return ("\n\n" if markdown else "\n").join([table, *gaps])


def list_results(runs: Sequence[Run]) -> list[Results]:
    """The closing results of the runs that have some."""
    return [run.closing.results for run in runs if run.closing is not None]


def describe_state(run: Run) -> str:
    """Why a run has no numbers or early ones; empty for a whole run."""
    if run.cut_step is not None:
        return f"{run.label}: cut by runtime.max_steps, its numbers are those of step {run.cut_step}"
    if run.closing is not None:
        return ""
    why = f"{run.label}: {'not finished' if run.has_tests else 'no test set to measure'}"
    if scores := [point for point in run.history.scores if point.split != CLOSING]:
        last = scores[-1]
        return f"{why}, last evaluated epoch {last.epoch} of {run.epochs} ({last.split} R@1 {last.r1:.2f})"
    if run.history.losses:
        return f"{why}, in epoch {run.history.losses[-1].epoch} of {run.epochs}, none evaluated"
    return f"{why}, no step reported"
