"""`tpr caption`: captions for a folder or a dataset by a model: plan, run, status, merge, verify, finetune.

What a command does lies in a file of its own, imported when it is chosen.
"""

import argparse
from pathlib import Path
from typing import Any, get_args

from tpr.captioning.engines import ENGINES
from tpr.captioning.forms import FORMS
from tpr.commands.arguments import add_command, add_late_command, add_root, add_words, typed
from tpr.config.ranges import Count
from tpr.data.adapters import ADAPTERS
from tpr.data.adapters.folder import IdentityPlace

EXAMPLES = """examples:
  tpr caption plan crops plans/first --engine echo
  tpr caption run plans/first
  tpr caption status plans/first --statistics
  tpr caption merge plans/first --form ham_pedes --out data/HAM-PEDES"""
PLAN_EXAMPLES = """examples:
  tpr caption plan crops plans/first --captions static=1 dynamic=1 --engine echo
  tpr caption plan luperson_mllm plans/second --root /data --images 100000 --captions dynamic=2
  tpr caption plan crops plans/third --identity folder --engine-options batch=64
  tpr caption plan plans/first plans/fourth --rephrase --view static-0"""
RUN_EXAMPLES = """examples:
  tpr caption run plans/first
  tpr caption run plans/first --retry-failures
  tpr caption run plans/first --ray --workers 4"""
FINETUNE_EXAMPLES = """examples:
  tpr caption finetune cuhk_pedes models/person-blip --model models/blip-image-captioning-large
  tpr caption finetune jsonl models/infrared --model models/blip --settings infrared=only colours=remove"""


def add_parser(subparsers: Any) -> None:
    """Register `tpr caption` and its commands."""
    parser = add_command(
        subparsers,
        "caption",
        "let a model write captions",
        description="Captions for images by a model, in shards that can be stopped and resumed.",
        epilog=EXAMPLES,
    )
    commands = parser.add_subparsers(dest="caption_command", required=True, metavar="COMMAND")
    _add_plan(commands)
    _add_run(commands)
    status = add_late_command(commands, "status", "caption_results", "how far a plan is")
    _add_plans(status, 1)
    status.add_argument("--statistics", action="store_true", help="also lengths, openings, slots, n-grams")
    status.add_argument("--plot", metavar="FILE.png", type=typed(Path), help="draw the statistics")
    _add_merge(commands)
    verify = add_late_command(commands, "verify", "caption_results", "is every caption there exactly once")
    _add_plans(verify, 1)
    _add_finetune(commands)


def _add_plans(parser: argparse.ArgumentParser, count: int | str) -> None:
    parser.add_argument("plans", metavar="PLAN", nargs=count, type=typed(Path), help="folder of a plan")


def _add_plan(commands: Any) -> None:
    plan = add_late_command(commands, "plan", "caption_plan", "choose images, captions and engine")
    plan.epilog = PLAN_EXAMPLES
    plan.add_argument(
        "source",
        metavar="SOURCE",
        help=f"folder of images, or of a plan to rephrase, or one of {', '.join(ADAPTERS)}",
    )
    plan.add_argument("folder", metavar="PLAN", type=typed(Path), help="folder to write the plan into")
    plan.add_argument(
        "--captions",
        nargs="+",
        default=[],
        metavar="kind=COUNT",
        help="captions of each image, by kind; default: static=1 dynamic=1, with --rephrase rephrase=1",
    )
    plan.add_argument(
        "--engine", default="echo", metavar="NAME", help=f"of {', '.join(ENGINES)}; default: echo"
    )
    add_words(plan, "--engine-options", "options of the engine")
    add_words(
        plan,
        "--filters",
        "which captions are accepted: min_words, max_words, full_stop, english, duplicates, colours",
    )
    plan.add_argument("--attempts", type=typed(int), default=5, help="per caption; default: %(default)s")
    plan.add_argument("--seed", type=typed(int), default=0, help="of every draw; default: %(default)s")
    plan.add_argument(
        "--styles", type=typed(int), default=0, metavar="N", help="the model's styles; default: none"
    )
    plan.add_argument(
        "--images", type=typed(Count), metavar="N", help="number of images, drawn at random; default: all"
    )
    plan.add_argument(
        "--shard-images", type=typed(int), default=2048, metavar="N", help="default: %(default)s"
    )
    plan.add_argument(
        "--texts", type=typed(Path), metavar="FOLDER", help="instructions.yaml and templates.txt"
    )
    add_root(plan)
    plan.add_argument("--split", choices=["train", "val", "test", "all"], default="train", help="its split")
    add_words(plan, "--options", "options of the dataset")
    plan.add_argument(
        "--infrared",
        choices=["any", "only", "never"],
        default="any",
        help="images of a dataset: any, infrared ones only, or never them",
    )
    plan.add_argument(
        "--identity",
        choices=get_args(IdentityPlace),
        default="none",
        help="of a folder's images: unknown, the nearest folder that is a number, or the file's first digits",
    )
    plan.add_argument(
        "--rephrase",
        action="store_true",
        help="say captions in other words: those of a finished plan, or the first ones of a dataset",
    )
    plan.add_argument("--view", metavar="NAME", help="which captions of a plan to rephrase")


def _add_run(commands: Any) -> None:
    run = add_late_command(
        commands, "run", "caption_run", "work through a plan; stop and start it at will", epilog=RUN_EXAMPLES
    )
    _add_plans(run, 1)
    run.add_argument("--root", type=typed(Path), help="where the images lie on this machine")
    add_words(run, "--engine-options", "options for this machine, such as batch=64")
    run.add_argument(
        "--retry-failures", action="store_true", help="ask once more for what failed in finished shards"
    )
    run.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="let Ray run it on many GPUs and machines; no ADDRESS: RAY_ADDRESS, else this machine alone",
    )
    run.add_argument(
        "--workers",
        type=typed(Count),
        metavar="N",
        help="of Ray; default: one per GPU, without GPUs one per core",
    )


def _add_merge(commands: Any) -> None:
    merge = add_late_command(commands, "merge", "caption_results", "finished captions as a corpus")
    _add_plans(merge, "+")
    merge.add_argument("--form", required=True, choices=list(FORMS), help="what to write")
    merge.add_argument(
        "--out", required=True, type=typed(Path), metavar="FOLDER", help="folder to write into"
    )
    merge.add_argument(
        "--labels", nargs="+", default=[], metavar="NAME", help="names of models, for file names"
    )
    merge.add_argument("--prefix", default="", metavar="PATH", help="written before every image path")
    merge.add_argument("--view", metavar="NAME", help="the caption to take where a form has room for one")
    merge.add_argument("--partial", action="store_true", help="also merge a plan that is not done")


def _add_finetune(commands: Any) -> None:
    finetune = add_late_command(
        commands,
        "finetune",
        "caption_finetune",
        "train a BLIP captioner on a dataset's captions",
        epilog=FINETUNE_EXAMPLES,
    )
    finetune.add_argument("set", metavar="SET", help=f"of {', '.join(ADAPTERS)}")
    finetune.add_argument("out", metavar="OUT", type=typed(Path), help="folder to write the captioner into")
    finetune.add_argument(
        "--model", required=True, metavar="FOLDER", help="BLIP to begin with; hub:ORG/NAME fetches one"
    )
    add_words(
        finetune, "--settings", "of the training, such as epochs=3 infrared=only; docs/captions_models.md"
    )
    add_root(finetune)
    finetune.add_argument("--split", choices=["train", "val", "test"], default="train")
    add_words(finetune, "--options", "options of the dataset")
