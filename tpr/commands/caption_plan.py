"""What `tpr caption plan` does."""

import argparse
from pathlib import Path

from tpr.captioning.listing import Source, adapter_source, folder_source
from tpr.captioning.plan import PLAN, Settings, choose_engine, write_plan
from tpr.captioning.rephrase import plan_source
from tpr.captioning.texts import read_texts
from tpr.commands.arguments import type_word
from tpr.commands.datasets import choose_dataset, read_root
from tpr.config.typed import build_options
from tpr.config.yaml_entries import parse_values
from tpr.data.adapters import ADAPTERS
from tpr.errors import ConfigError
from tpr.report.console import say

CAPTIONS = ["static=1", "dynamic=1"]
REPHRASED = ["rephrase=1"]


def run_plan(namespace: argparse.Namespace) -> int:
    """Write a plan."""
    captions = namespace.captions or (REPHRASED if namespace.rephrase else CAPTIONS)
    options = {
        "captions": parse_values(captions),
        "filters": parse_values(namespace.filters),
        "attempts": namespace.attempts,
        "seed": namespace.seed,
        "styles": namespace.styles,
        "shard_images": namespace.shard_images,
    }
    settings = build_options(Settings, options, {})
    engine = choose_engine(namespace.engine, parse_values(namespace.engine_options))
    texts = read_texts(namespace.texts)
    source = choose_source(namespace)
    plan = write_plan(namespace.folder, source, texts, engine, settings, images=namespace.images)
    say(
        f"{plan.folder}: {plan.images:,} images, {plan.requests:,} captions in {plan.shards:,} shards, "
        f"engine {plan.engine.name}, fingerprint {plan.fingerprint}"
    )
    return 0


def choose_source(namespace: argparse.Namespace) -> Source:
    """A dataset by its name, a plan to rephrase by its folder, anything else is a folder of images."""
    if namespace.source in ADAPTERS:
        return adapter_source(
            choose_dataset(namespace.source, parse_values(namespace.options)),
            namespace.split,
            read_root(namespace.root),
            rephrases=namespace.rephrase,
            infrared=namespace.infrared,
        )
    folder: Path = type_word(namespace.source, Path)
    if not folder.is_dir():
        raise ConfigError(
            f"SOURCE: '{namespace.source}' is neither a folder nor a dataset; datasets: {', '.join(ADAPTERS)}"
        )
    if not namespace.rephrase:
        return folder_source(folder, namespace.identity)
    if not (folder / PLAN).is_file():
        raise ConfigError(
            f"--rephrase: {folder} holds no {PLAN}; name a finished plan, or a dataset that has captions"
        )
    return plan_source(folder, namespace.view)
