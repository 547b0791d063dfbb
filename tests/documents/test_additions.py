"""Everything of docs/extend*.md, added to a copy of the package and run on tiny data.

The same copy runs what README shows of Python and tells of run folders.
"""

import ast
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.data.small_sets import write_image, write_json
from tests.documents.blocks import (
    EXTENDING,
    README,
    ROOT,
    Block,
    blocks_of,
    inline_commands,
    section_of,
    table_rows,
)
from tests.processes import Processes
from tpr.locks import LOCK_FILE
from tpr.models.weights import read_checkpoint

pytestmark = pytest.mark.slow
MOST_LINES = 15
ADDED = [block for document in EXTENDING for block in blocks_of(document) if block.is_addition]
SMALL = [
    "model={name: clip, weights: null, architecture: {embed_dim: 16, "
    "image: {width: 16, layers: 1, heads: 2}, text: {width: 16, layers: 1, heads: 2}}}",
    "data.image_size=[32, 16]",
    "data.batch=4",
    "runtime.max_steps=3",
    "runtime.log_every_steps=1",
    "runtime.workers=0",
    "runtime.device=cpu",
    "report.ranking_queries=1",
]
DRIVER = """
import json, runpy, sys
from tpr.cli import main
for words in json.loads(sys.argv[1]):
    if words[0] == "python":
        runpy.run_path(words[1])
    else:
        code = main(words[1:])
        assert code == 0, (words, code)
"""


def apply_diff(text: str, diff: str) -> str:
    """The text with a diff's lines added and removed; its context lines must be there, in order."""
    lines, place = text.splitlines(), 0
    for line in diff.splitlines()[1:]:
        mark, content = line[0], line[1:]
        if mark == "+":
            lines.insert(place, content)
            place += 1
        else:
            place = lines.index(content, place) + (mark == " ")
            if mark == "-":
                del lines[place]
    return "\n".join(lines) + "\n"


def command_of(section: str) -> list[str]:
    """The one command in the prose of a section, as `tpr train` for `sh run.sh`."""
    document = next(page for page in EXTENDING if f"## {section}" in page.read_text(encoding="utf-8"))
    (words,) = inline_commands(section_of(document, section))
    return ["tpr", "train", *words[2:]]


def write_shop(root: Path) -> None:
    """Four persons with two images each to train on, two more to test."""
    records = [
        {
            "image": f"{number}.jpg",
            "person": number // 2,
            "split": "train" if number < 8 else "test",
            "texts": [f"person {number // 2} before the shelf"],
        }
        for number in range(12)
    ]
    write_json(root / "SHOP" / "shop.json", records)
    for number, record in enumerate(records):
        write_image(root / "SHOP" / str(record["image"]), shade=20 * number)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package with all additions, after their runs."""
    root = tmp_path_factory.mktemp("copy")
    for name in ("tpr", "configs"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for block in ADDED:
        add(root, block)
    write_shop(root / "data")
    (example,) = (block for block in blocks_of(README) if block.language == "python")
    (root / "example.py").write_text(example.text, encoding="utf-8")
    run(
        root,
        ["tpr", "draw", "data/drawn", "--identities", "2", "--workers", "1"],
        ["tpr", "train", "configs/drawn/pretrain.yaml", *SMALL],
        ["python", "example.py"],
        ["tpr", "evaluate", "runs/drawn-pretrain/best.pt", "--intervals"],
        [*command_of("Add a dataset"), *SMALL, "data.root=data"],
        [*command_of("Add a loss"), *SMALL],
        [*command_of("Add a system"), *SMALL],
        [*command_of("Add an image operation"), *SMALL],
        # Last, for the command's own sizes of the towers stand.
        [*command_of("Add a tokenizer")[:3], *SMALL, *command_of("Add a tokenizer")[3:]],
    )
    return root


def add(root: Path, block: Block) -> None:
    """Do what a block says to the file that its first line names."""
    path = root / block.text.splitlines()[0].removeprefix("# ")
    if block.language == "diff":
        path.write_text(apply_diff(path.read_text(encoding="utf-8"), block.text), encoding="utf-8")
    else:
        assert not path.exists()
        path.parent.mkdir(exist_ok=True)
        path.write_text(block.text, encoding="utf-8")


def run(root: Path, *commands: list[str]) -> None:
    """All commands in one process of their own, whose `tpr` is the copy."""
    environment = os.environ | {
        "PYTHONPATH": str(root),
        "XDG_CACHE_HOME": str(root / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("TPR_DATA", None)
    words = [sys.executable, "-c", DRIVER, json.dumps(commands)]
    with Processes() as processes:
        done = processes.run(words, cwd=root, env=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def losses_of(folder: Path) -> dict[str, float]:
    events = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    return next(event["losses"] for event in events if event["kind"] == "step")


def test_an_added_data_set_trains_and_gets_a_row(copy: Path) -> None:
    results = json.loads((copy / "runs" / "shop-train" / "results.json").read_text())
    assert [row["dataset"] for row in results["results"]["rows"]] == ["shop"]
    assert "training on shop: 8 images, 8 captions" in (copy / "runs/shop-train/log.txt").read_text()


def test_an_added_loss_is_trained_on_with_its_weight(copy: Path) -> None:
    losses = losses_of(copy / "runs" / "drawn-pretrain-2")
    assert losses.keys() - losses_of(copy / "runs" / "drawn-pretrain").keys() == {"pull"}
    assert 0 < losses["pull"] < 1


def test_an_added_system_trains(copy: Path) -> None:
    assert losses_of(copy / "runs" / "drawn-pretrain-3").keys() == {"loss", "itc"}
    assert "name: contrast" in (copy / "runs" / "drawn-pretrain-3" / "config.yaml").read_text()


def test_an_added_image_operation_is_listed_by_its_name(copy: Path) -> None:
    folder = copy / "runs" / "drawn-pretrain-4"
    assert losses_of(folder) != losses_of(copy / "runs" / "drawn-pretrain")
    assert "name: solarise" in (folder / "config.yaml").read_text()


def test_an_added_tokenizer_is_what_its_model_reads_captions_by(copy: Path) -> None:
    state = read_checkpoint(copy / "runs" / "drawn-pretrain-5" / "best.pt").state
    assert state["base_model.token_embedding.weight"].shape == (259, 16)


def test_a_run_folder_holds_what_the_readme_lists(copy: Path) -> None:
    folder = copy / "runs" / "drawn-pretrain"
    listed = [
        name
        for row in table_rows(section_of(README, "Run folders"))
        for name in re.findall(r"`([^`]+)`", row[0])
    ]
    found = {name: {path.name for path in folder.glob(name)} for name in listed}
    # The run has ended, and nothing is on trial.
    assert all(bool(files) != name.startswith(".") for name, files in found.items()), found
    assert {path.name for path in folder.iterdir()} - {LOCK_FILE} == set().union(*found.values())


@pytest.mark.parametrize("block", [b for b in ADDED if b.language == "python"], ids=str)
def test_an_addition_is_short_and_typed(block: Block) -> None:
    tree = ast.parse(block.text)
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    lines = [line for line in block.text.splitlines()[1:] if line.strip()]
    assert len(lines) - len(imports) <= MOST_LINES
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.returns is not None, node.name
            assert all(a.annotation for a in node.args.args if a.arg != "self"), node.name


def test_a_diff_keeps_order_and_refuses_what_is_not_there() -> None:
    diff = "# a file\n b\n+new\n-d\n+D\n"
    assert apply_diff("a\nb\nc\nd\ne\n", diff) == "a\nb\nnew\nc\nD\ne\n"
    with pytest.raises(ValueError, match="not in list"):
        apply_diff("a\nc\n", diff)
