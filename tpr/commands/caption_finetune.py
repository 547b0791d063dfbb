"""What `tpr caption finetune` does."""

import argparse
from pathlib import Path

from tpr.captioning.finetune import RECORD, FinetuneOptions, Finetuning
from tpr.commands.datasets import choose_dataset, read_root
from tpr.config.typed import build_options
from tpr.config.yaml_entries import parse_values
from tpr.data.tables.corpora import load_split
from tpr.errors import ConfigError
from tpr.report.console import say


def run_finetune(namespace: argparse.Namespace) -> int:
    """Train until the folder is there or a signal comes; a finished one is left alone."""
    out: Path = namespace.out
    if (out / RECORD).is_file():
        say(f"{out}: is finished")
        return 0
    if out.exists():
        raise ConfigError(f"{out}: is there already, and no captioner of this command; choose another OUT")
    choice = choose_dataset(namespace.set, parse_values(namespace.options))
    options = build_options(FinetuneOptions, parse_values(namespace.settings), {}, "settings")
    corpus = load_split(choice, namespace.split, read_root(namespace.root))
    Finetuning(namespace.model, corpus, out, options).run()
    say(f"{out}: a captioner; --engine transformers --engine-options model={out} captions with it")
    return 0
