"""`tpr train`: any run, from the config to the closing table. torchrun starts the same command many times.

The flow of a whole run is `train` below, one folder of the package per line.
"""

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from tpr import distributed
from tpr.commands.arguments import add_command, typed
from tpr.commands.resolve import resolve_experiment, resolve_first, spread_over_seeds
from tpr.config.schema import Experiment
from tpr.data.samples.loader import TrainLoader
from tpr.data.tables.corpora import Corpora, load_corpora
from tpr.engine.checkpoint import describe_kept
from tpr.engine.claim import enter_folder
from tpr.engine.precision import choose_device, choose_precision
from tpr.engine.resuming import read_best, reading
from tpr.engine.run_folder import LOG_FILE, forget_unstarted, is_finished
from tpr.engine.schedule import check_schedule
from tpr.engine.trainer import Trainer
from tpr.errors import ConfigError, TrainingError, UserError
from tpr.evaluation.evaluator import Evaluator
from tpr.evaluation.rows import Results
from tpr.report.closing import draw_images, say_closing, say_comparison, write_results
from tpr.report.console import configure_logging
from tpr.report.recorder import RunRecorder
from tpr.report.result_table import draw_table
from tpr.systems import SYSTEMS, build_system, load_weights
from tpr.systems.base import Setting, System

logger = logging.getLogger(__name__)

EXAMPLES = """examples:
  tpr train configs/drawn/pretrain.yaml
  tpr train configs/irra/cuhk_pedes.yaml data.root=/data optim.lr=2e-5
  tpr train configs/irra/cuhk_pedes.yaml data.root=/data --seeds 1,2,3"""


def add_parser(subparsers: Any) -> None:
    """Register `tpr train`."""
    parser = add_command(
        subparsers,
        "train",
        "train, evaluate and keep the best",
        run,
        description="Train what CONFIG says; a run of the same configuration is continued.",
        epilog=EXAMPLES,
    )
    parser.add_argument("arguments", nargs="*", metavar="CONFIG [key=value ...]")
    parser.add_argument(
        "--finetune",
        type=typed(Path),
        metavar="CHECKPOINT",
        help="start from these weights; same as init.checkpoint=",
    )
    parser.add_argument(
        "--seeds",
        metavar="N,N,...",
        help="one run per seed, in turn, and a table of mean ± deviation over them",
    )


def run(namespace: argparse.Namespace) -> int:
    """Train as the command line says: one run, or one per seed."""
    experiment = resolve_experiment(namespace.arguments, namespace.finetune)
    seeds: str | None = namespace.seeds
    runs = [] if seeds is None else spread_over_seeds(experiment, seeds, namespace.arguments)
    device = choose_device(experiment.runtime)
    distributed.start(device, experiment.runtime.timeout_seconds)
    if seeds is None:
        train_stages(experiment, namespace.arguments, device)
    else:
        train_seeds(runs, namespace.arguments, device)
    distributed.stop()
    return 0


def train_seeds(experiments: Sequence[Experiment], arguments: Sequence[str], device: torch.device) -> None:
    """The runs in turn, each in its own folder, then one table over them.

    All in one process group: a second one would meet in the store that still holds the addresses of the
    first, and a process that reads those calls peers that are gone.
    """
    folders = []
    for number, experiment in enumerate(experiments, 1):
        # Each run has its own log file: the last one's ends here.
        configure_logging()
        logger.info("seed %d, run %d of %d", experiment.seed, number, len(experiments))
        folders.append(train_stages(experiment, arguments, device))
    configure_logging()
    if distributed.is_main_rank():
        say_comparison(folders)


def train_stages(experiment: Experiment, arguments: Sequence[str], device: torch.device) -> Path:
    """One run, and before it the one that it starts from, where `init.config` names it; returns its folder.

    arguments: the words of the command line.
    """
    first = resolve_first(experiment, arguments)
    init = experiment.init
    if first is not None:
        folder = train_stages(first, arguments, device)
        configure_logging()
        init = replace(init, checkpoint=folder / "best.pt")
    return train(replace(experiment, init=replace(init, config=None)), device)


def train(experiment: Experiment, device: torch.device) -> Path:
    """One whole run: find its folder and return it, train what is left of it, print and keep its table."""
    with enter_folder(experiment) as folder:
        if not is_finished(folder):
            go_on(replace(experiment, name=folder.name), folder, device)
        elif distributed.is_main_rank():
            say_closing(folder, experiment)
    return folder


def go_on(experiment: Experiment, folder: Path, device: torch.device) -> None:
    """What is left of a run, in its folder, which this process holds."""
    configure_logging(folder / LOG_FILE if distributed.is_main_rank() else None)
    try:
        fit_and_report(experiment, folder, device)
    except UserError:
        forget_unstarted(folder)
        raise
    except RuntimeError as error:
        if not distributed.is_lost_contact(error):
            raise
        raise TrainingError(
            f"rank {distributed.rank()}: lost contact with another process, which died or hung and may have "
            f"said why; {describe_kept(folder / 'last.pt')}: start the same command again to go on"
        ) from error


def fit_and_report(experiment: Experiment, folder: Path, device: torch.device) -> None:
    """Build every part, train, evaluate the best epoch and write the closing results."""
    torch.manual_seed(experiment.seed)
    precision = choose_precision(experiment.runtime, device)
    with distributed.main_rank_first():
        corpora = load_corpora(experiment.data, experiment.evaluation, experiment.seed)
    setting = describe_setting(experiment, corpora)
    system = build_start(experiment, setting)
    loader = build_loader(experiment, corpora, system, device)
    check_schedule(experiment.schedule, len(loader))
    evaluator = Evaluator(experiment, corpora, device=device, autocast=precision.autocast)
    evaluator.check(system)
    recording = RunRecorder(
        folder,
        experiment,
        losses=list(system.loss_weights),
        pairs=min(len(loader) * experiment.data.batch, len(loader.samples)) * experiment.schedule.epochs,
        steps=len(loader) * experiment.schedule.epochs,
    )
    with recording as recorder:
        before: dict[str, Any] = {}

        def score(system: System, epoch: int, step: int) -> float:
            split: Literal["val", "test"] = "test" if experiment.evaluation.select_on == "test" else "val"
            results = evaluator.evaluate(system, split)
            recorder.record_evaluation(epoch, step, split, results)
            return evaluator.score(results)

        trainer = Trainer(
            system,
            loader,
            experiment,
            folder=folder,
            precision=precision,
            scorer=score,
            recorder=recorder,
            extra_state=lambda: {"before": before},
        )
        if (state := trainer.resume()) is not None:
            before |= read_before(state, folder / "last.pt")
        elif experiment.evaluation.before:
            before |= evaluator.evaluate(system, "test").to_json()
        trainer.fit()
        close_run(trainer, evaluator, recorder, before)


def read_before(state: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The evaluation before the first step that a state holds. Raises CheckpointError."""
    with reading(path, "the evaluation before the first step"):
        before: dict[str, Any] = state["before"]
        if before != {}:
            draw_table(Results.from_json(before))
        return before


def describe_setting(experiment: Experiment, corpora: Corpora) -> Setting:
    """Sizes that shape the system, taken from options and training set."""
    if corpora.train is None:
        raise ConfigError("data.train: nothing to train on; name a dataset, such as [luperson_mllm]")
    system, options = SYSTEMS[experiment.system.name], experiment.system.options
    advice = system.needs_identities(options)
    if advice is not None and not corpora.train.has_identities:
        raise ConfigError(
            f"system '{experiment.system.name}' has a loss over identities, but {corpora.train.name} has no "
            f"person labels; {advice} or train on a dataset with identities"
        )
    return Setting(
        image_size=experiment.data.image_size,
        text_length=experiment.data.text_length,
        identities=corpora.train.identity_count if corpora.train.has_identities else None,
        captions=corpora.train.caption_count,
        captions_per_image=experiment.data.captions_per_image,
    )


def build_start(experiment: Experiment, setting: Setting) -> System:
    """The system with its starting weights."""
    system = build_system(experiment, setting)
    if experiment.init.checkpoint is not None:
        load_weights(system, experiment.init.checkpoint, experiment.init.minimum_share)
    values = sum(parameter.numel() for parameter in system.parameters())
    logger.info("%s: %s parameters", experiment.system.name, f"{values:,}")
    weights = system.loss_weights.items()
    logger.info("minimises %s", " + ".join(f"{weight:g} x {name}" for name, weight in weights))
    return system


def build_loader(
    experiment: Experiment, corpora: Corpora, system: System, device: torch.device
) -> TrainLoader:
    """The training set in the order that the options, or else the system, ask for."""
    assert corpora.train is not None
    train = corpora.train
    logger.info(
        "training on %s: %s images, %s captions", train.name, f"{len(train):,}", f"{train.caption_count:,}"
    )
    wanted, views = experiment.data.sampler, system.views()
    return TrainLoader(
        train,
        experiment.data,
        views,
        seed=experiment.seed,
        workers=experiment.runtime.workers,
        start=experiment.runtime.start,
        sampler=views.sampler if wanted == "system" else wanted,
        device=device,
    )


def close_run(trainer: Trainer, evaluator: Evaluator, recorder: RunRecorder, before: dict[str, Any]) -> None:
    """Evaluate the best epoch on the test sets, draw, and print the last lines."""
    folder, experiment, step = trainer.folder, trainer.experiment, trainer.steps_done
    distributed.barrier()
    if not (folder / "best.pt").exists():
        raise TrainingError(
            f"{folder}: no epoch gave sound weights with a finite score, so there is no best.pt to measure; "
            "lower optim.lr or set optim.clip"
        )
    best = read_best(folder / "best.pt", trainer.system)
    trainer.system.load_state_dict(best["model"])
    recorder.progress.close()
    if experiment.data.test:
        with trainer.keeper.giving_up(best["step"]):
            results = evaluator.evaluate(trainer.system, "test")
        recorder.journal.evaluation(step, best["best_epoch"], "best", results)
        draw_images(folder, evaluator, trainer.system, recorder, step)
        if distributed.is_main_rank():
            finished = trainer.epoch > experiment.schedule.epochs
            write_results(folder, results, before, best["best_epoch"], finished=finished)
    trainer.keeper.accept()
    if trainer.loader.skipped:
        logger.warning("%d unreadable images were replaced by neighbours", trainer.loader.skipped)
    recorder.close()
    if distributed.is_main_rank():
        say_closing(folder, experiment)
