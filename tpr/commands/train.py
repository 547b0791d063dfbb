"""`tpr train`: any run, from the config to the closing table. torchrun starts the same command many times.

The flow of a whole run is `train` below, one folder of the package per line.
"""

import argparse
import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from tpr import distributed
from tpr.commands.resolve import resolve_experiment
from tpr.config.schema import Experiment
from tpr.config.typed import to_tree
from tpr.data.corpora import Corpora, load_corpora
from tpr.data.loader import TrainLoader
from tpr.engine.precision import choose_device, choose_precision
from tpr.engine.run_folder import RESULTS_FILE, find_folder, open_folder, write_text
from tpr.engine.trainer import Trainer
from tpr.errors import ConfigError, TrainingError
from tpr.evaluation.evaluator import Evaluator
from tpr.evaluation.results import Results
from tpr.report.closing import say_closing, write_pictures
from tpr.report.console import configure_logging
from tpr.report.recorder import RunRecorder
from tpr.systems import SYSTEMS, build_system, load_weights
from tpr.systems.base import Setting, System

logger = logging.getLogger(__name__)

EXAMPLES = """examples:
  tpr train configs/drawn/pretrain.yaml
  tpr train configs/irra/cuhk_pedes.yaml data.root=/data optim.lr=2e-5"""


def add_parser(subparsers: Any) -> None:
    """Register `tpr train`."""
    parser = subparsers.add_parser(
        "train",
        help="train, evaluate and keep the best",
        description="Train what CONFIG says; a run of the same configuration is continued.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("arguments", nargs="*", metavar="CONFIG [key=value ...]")
    parser.add_argument(
        "--finetune", type=Path, metavar="CHECKPOINT", help="start from these weights; same as init.checkpoint="
    )
    parser.set_defaults(run=run)


def run(namespace: argparse.Namespace) -> int:
    """Train as the command line says."""
    train(resolve_experiment(namespace.arguments, namespace.finetune))
    return 0


def train(experiment: Experiment) -> None:
    """One whole run: find its folder, train what is left of it, print and keep its table."""
    device = choose_device(experiment.runtime)
    distributed.start(device, experiment.runtime.timeout_seconds)
    folder = Path(distributed.share_object(str(find_folder(experiment))))
    if (folder / RESULTS_FILE).exists():
        if distributed.is_main_rank():
            say_closing(folder, experiment)
        distributed.stop()
        return
    experiment = open_folder(folder, experiment)
    configure_logging(folder / "log.txt" if distributed.is_main_rank() else None)
    try:
        fit_and_report(experiment, folder, device)
    except RuntimeError as error:
        if not distributed.is_lost_contact(error):
            raise
        raise TrainingError(
            f"rank {distributed.rank()}: lost contact with another process, which died or hung; its own message "
            f"says why; {folder / 'last.pt'} is kept: start the same command again to go on"
        ) from error
    distributed.stop()


def fit_and_report(experiment: Experiment, folder: Path, device: torch.device) -> None:
    """Build every part, train, evaluate the best epoch and write the closing results."""
    torch.manual_seed(experiment.seed)
    precision = choose_precision(experiment.runtime, device)
    with distributed.main_rank_first():
        corpora = load_corpora(experiment.data, experiment.evaluation, experiment.seed)
    setting = describe_setting(experiment, corpora)
    system = build_start(experiment, setting)
    loader = build_loader(experiment, corpora, system, device)
    evaluator = Evaluator(experiment, corpora, device=device, precision=precision)
    recorder = RunRecorder(folder, experiment, steps=len(loader) * experiment.schedule.epochs)
    before: dict[str, Any] = {}

    def score(system: System, epoch: int, step: int) -> float:
        results = evaluator.evaluate(system, experiment.evaluation.select_on)
        recorder.record_evaluation(epoch, step, results)
        return evaluator.score(results)

    trainer = Trainer(
        system,
        loader,
        experiment,
        folder=folder,
        precision=precision,
        scorer=score,
        recorder=recorder,
        extra_state=lambda: {"config": to_tree(experiment), "setting": asdict(setting), "before": before},
    )
    if (state := trainer.resume()) is not None:
        before |= state["before"]
    elif experiment.evaluation.before:
        before |= evaluator.evaluate(system, "test").to_json()
    trainer.fit()
    recorder.close_progress()
    results = evaluate_best(trainer, evaluator, experiment, before, folder)
    recorder.record_evaluation(trainer.epoch - 1, trainer.steps_done, results)
    if distributed.is_main_rank():
        write_pictures(folder, experiment, evaluator, system, recorder)
        report_skipped(loader)
    recorder.close()
    if distributed.is_main_rank():
        say_closing(folder, experiment)


def describe_setting(experiment: Experiment, corpora: Corpora) -> Setting:
    """Sizes that shape the system, taken from options and training set."""
    if corpora.train is None:
        raise ConfigError("data.train: nothing to train on; name at least one data set, such as [luperson_mllm]")
    identities = corpora.train.identity_count if corpora.train.has_identities else None
    return Setting(
        image_size=experiment.data.image_size,
        text_length=experiment.data.text_length,
        identities=identities,
        captions=corpora.train.caption_count,
    )
