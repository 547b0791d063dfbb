"""What the commands of `tpr style` do; imported when one of them is chosen."""

import argparse
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from tpr import distributed
from tpr.captioning.engines import ENGINES, Engine
from tpr.captioning.plan import choose_engine
from tpr.captioning.styles.bank import INSTRUCTIONS, write_bank
from tpr.captioning.styles.features import (
    Rewrite,
    check_new,
    collect_captions,
    read_features,
    write_features,
)
from tpr.captioning.styles.lexicon import Lexicon, read_lexicon
from tpr.captioning.styles.options import ClusterOptions, EncoderOptions, TrainOptions
from tpr.captioning.styles.rewriting import ModelRewriting, read_prompt, rewrite_by_words
from tpr.captioning.styles.run_folder import LAST
from tpr.captioning.texts import read_texts
from tpr.commands.datasets import choose_dataset, read_root
from tpr.config.schema import Choice
from tpr.config.typed import build_options
from tpr.config.yaml_entries import parse_values
from tpr.errors import ConfigError, DataError, TrainingError
from tpr.locks import hold_folder, hold_made_folder
from tpr.report.console import say
from tpr.systems import TABLES

CACHE = "rewritten.jsonl"
KIND = "styled"
"""Kind of instruction that styles are taught with and captions are asked for with."""


def run_features(namespace: argparse.Namespace) -> int:
    """Collect, rewrite, encode."""
    encoder = build_options(EncoderOptions, parse_values(namespace.encoder), TABLES, "encoder")
    lexicon = read_lexicon(namespace.texts)
    choices = choose_sets(namespace.sets, parse_values(namespace.options))
    data = read_root(namespace.root)
    with hold_made_folder(namespace.out, check_new):
        rewrite, engine = choose_rewriting(namespace, lexicon)
        about: dict[str, Any] = {"sets": namespace.sets, "rewriting": "words"}
        if engine is not None:
            about["rewriting"] = engine.describe()
        try:
            features = write_features(namespace.out, collect_captions(choices, data), rewrite, encoder, about)
        finally:
            if engine is not None:
                engine.close()
    counts = Counter(features.texts.column("by").to_pylist())
    said = ", ".join(f"{count:,} by {name}" for name, count in counts.items())
    rows, width = features.features.shape
    say(f"{namespace.out}: {rows:,} captions rewritten ({said}), {width} features each")
    return 0


def choose_sets(names: Sequence[str], options: dict[str, Any]) -> list[Choice]:
    """The datasets by name; options belong to the only one. Raises ConfigError."""
    if options and len(names) > 1:
        raise ConfigError("--options: takes a single dataset; make features of each, or leave them out")
    return [choose_dataset(name, options, "--sets") for name in names]


def choose_rewriting(namespace: argparse.Namespace, lexicon: Lexicon) -> tuple[Rewrite, Engine | None]:
    """Word lists, or a language model behind an engine, which is told to be greedy unless asked otherwise."""
    values = parse_values(namespace.engine_options)
    if namespace.engine is None:
        if values:
            raise ConfigError("--engine-options: needs --engine; without it word lists rewrite")
        return lambda captions: rewrite_by_words(captions, lexicon), None
    prompt = read_prompt(namespace.texts)
    if namespace.engine != "echo":
        values = {"temperature": 0, **values}
    choice = choose_engine(namespace.engine, values)
    engine = ENGINES[choice.name](choice.options)
    return ModelRewriting(engine, lexicon, prompt, namespace.out / CACHE).rewrite, engine


def run_cluster(namespace: argparse.Namespace) -> int:
    """Find styles."""
    options = build_options(ClusterOptions, parse_values(namespace.arguments), TABLES)
    texts = read_texts(namespace.texts)
    if KIND not in texts.instructions:
        raise ConfigError(f"instructions.yaml: has no kind '{KIND}', which styles are taught with")
    styles = write_bank(namespace.out, read_features(namespace.features), options, texts.instruct(KIND, None))
    counts = Counter(style.source for style in styles)
    said = ", ".join(f"{count:,} by {name}" for name, count in counts.items())
    examples = sum(len(style.rows) for style in styles)
    say(f"{namespace.out}: {len(styles):,} styles ({said}), {examples:,} captions to learn from")
    return 0


def run_train(namespace: argparse.Namespace) -> int:
    """Train, or go on."""
    from tpr.captioning.styles.training import StyleTrainer, read_data

    options = build_options(TrainOptions, parse_values(namespace.arguments), TABLES)
    path = namespace.data / INSTRUCTIONS if namespace.data.is_dir() else namespace.data
    data = read_data(path, options)
    if not options.root.is_dir():
        raise DataError(f"root={options.root}: no such folder; it holds what the images' paths are below")
    namespace.out.mkdir(parents=True, exist_ok=True)
    try:
        with hold_folder(namespace.out) if distributed.is_speaker() else nullcontext():
            trainer = StyleTrainer(namespace.out, data, options)
            trainer.run()
    except RuntimeError as error:
        if not distributed.is_lost_contact(error):
            raise
        raise TrainingError(
            f"rank {distributed.rank()}: lost contact with another process, which may have said why; start "
            "the same command again to go on"
        ) from error
    say(f"{namespace.out / LAST}: {data.styles:,} styles after {trainer.step_number:,} steps")
    distributed.stop()
    return 0


def run_export(namespace: argparse.Namespace) -> int:
    """Write the model folder."""
    from tpr.captioning.styles.export import export_styles

    rows = export_styles(namespace.checkpoint, namespace.out, parse_values(namespace.arguments))
    say(
        f"{namespace.out}: {rows.styles:,} styles of {rows.tokens} tokens, numbers {rows.first:,} to "
        f"{rows.end - 1:,}"
    )
    return 0
