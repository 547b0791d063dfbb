"""What `tpr caption finetune` does."""

import argparse
from pathlib import Path

from tpr.captioning.finetune import RECORD, FinetuneOptions, Finetuning
from tpr.captioning.listing import load_source
from tpr.config.schema import DataOptions
from tpr.config.typed import build_options
from tpr.config.yaml_entries import parse_values
from tpr.data.adapters import ADAPTERS
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
    if namespace.set not in ADAPTERS:
        raise ConfigError(f"SET: '{namespace.set}' is not known; known: {', '.join(ADAPTERS)}")
    options = build_options(FinetuneOptions, parse_values(namespace.settings), {}, "settings")
    words = {"set": namespace.set, "split": namespace.split, "options": parse_values(namespace.options)}
    corpus = load_source(words, namespace.root or DataOptions().root)
    Finetuning(namespace.model, corpus, out, options).run()
    say(f"{out}: a captioner; --engine transformers --engine-options model={out} captions with it")
    return 0
