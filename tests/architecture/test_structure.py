"""Rules of the layout that reviews forget: import direction, sizes, names, copies."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

from tests.systems.members import list_classes, list_overridable, list_values

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tpr"
FILES = sorted(PACKAGE.rglob("*.py"))
ORDER = [
    "config", "data", "drawn", "models", "objectives", "evaluation", "systems", "engine", "report",
    "captioning", "commands",
]  # fmt: skip
LEAVES = {
    "tpr", "tpr.errors", "tpr.distributed", "tpr.home", "tpr.locks", "tpr.processes", "tpr.whole_files",
}  # fmt: skip
ROOMS = ("tpr/data/adapters/", "tpr/evaluation/protocols/", "tpr/systems/", "tpr/drawn/")
"""Where datasets, systems and modalities are at home."""
MAY_NAME_DATASETS = {
    "tpr/commands/": "help and messages show examples",
    "tpr/captioning/forms.py": "a form of written captions is named after the adapter that reads it",
}
MAY_NAME_MODALITIES = {
    "tpr/config/augment.py": "options of the kind of sample `slot`",
    "tpr/data/images/infrared.py": "transform of the kind `slot`",
    "tpr/data/images/transforms.py": "names of a batch's images",
    "tpr/data/samples/": "the kind `slot`, its samples, sampler and entries of a batch",
    "tpr/data/tables/": "a column of every table: which camera took an image",
    "tpr/models/two_stream.py": "a tower with a stem for each modality",
    "tpr/captioning/": "captions of infrared images name no colours",
    "tpr/commands/caption": "the option of captioning",
    "tpr/evaluation/older_rows.py": "rows that older versions stored",
    "tpr/evaluation/__init__.py": "the public function",
    "tpr/evaluation/retrieval.py": "the public function",
}
"""What is allowed, and why."""
SAME_SENSE = {"Losses": "weights of a system's losses, in the file of each system"}
"""Class names that several files define in one sense."""
LONGEST_FILE = 330
LONGEST_FUNCTION = 60
MOST_BRANCHES = 10
MOST_OVERRIDABLE = 10
SET_WHEN_MADE = ["loss_weights", "tables"]
WINDOW = 8
MOST_COPIED = 0.015


def relative(path):
    return str(path.relative_to(ROOT))


def package_of(path):
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else None


@cache
def walk(path):
    """Every node of a file."""
    return tuple(ast.walk(ast.parse(path.read_text())))


def imported_modules(path):
    for node in walk(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{relative(path)}: relative import"
            yield node.module


def test_imports_point_leftwards():
    for path in filter(package_of, FILES):
        own = ORDER.index(package_of(path))
        for module in imported_modules(path):
            if not module.startswith("tpr") or module in LEAVES:
                continue
            package = module.split(".")[1]
            assert package in ORDER, f"{relative(path)} imports {module}"
            assert ORDER.index(package) <= own, f"{relative(path)} imports {module}, which lies to its right"


def list_words(path):
    """Names and strings of a file, without docstrings."""
    told = {id(node.value) for node in walk(path) if isinstance(node, ast.Expr)}
    for node in walk(path):
        for field in ("id", "attr", "arg", "name"):
            if isinstance(word := getattr(node, field, None), str):
                yield word
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


def find_named(words, allowed):
    """Shared files that hold one of these words, whole or as a part of a name, and are not allowed to."""
    pattern = re.compile(rf"(?<![a-z])({'|'.join(words)})(?![a-z])", re.IGNORECASE)
    found = {
        relative(path): {word[:60] for word in list_words(path) if pattern.search(word)}
        for path in FILES
        if not relative(path).startswith(ROOMS)
    }
    return {path: words for path, words in found.items() if words and not path.startswith(tuple(allowed))}


def test_shared_code_names_no_system_and_no_dataset():
    from tpr.data.adapters import ADAPTERS
    from tpr.systems import SYSTEMS

    # These are forms of data, no datasets.
    names = {*SYSTEMS, *ADAPTERS, "sysu", "market", "rstp", "icfg"} - {"jsonl", "folder"}
    assert find_named(sorted(names), MAY_NAME_DATASETS) == {}
    classes = re.compile(rf"isinstance\([^)]*\b({'|'.join(kind.__name__ for kind in SYSTEMS.values())})\b")
    for path in FILES:
        if package_of(path) != "systems":
            assert not classes.search(path.read_text()), f"{relative(path)} asks for a system"


def test_shared_code_names_no_modality():
    assert find_named(["infrared", "thermal"], MAY_NAME_MODALITIES) == {}


def test_a_system_may_override_few_members():
    assert len(list_overridable()) <= MOST_OVERRIDABLE, list_overridable()
    assert (list_classes(), list_values()) == (["Options", "ModelOptions", "official"], SET_WHEN_MADE)


def test_no_system_overrides_what_is_final():
    from tpr.systems import SYSTEMS, System

    final = {name for name in vars(System) if name[0] != "_"} - {*list_overridable(), *list_classes()}
    for system in SYSTEMS.values():
        for kind in system.__mro__[: system.__mro__.index(System)]:
            assert not final & set(vars(kind)), f"{kind.__name__} overrides what is final"


def test_no_import_stands_at_the_end_of_a_file():
    for path in FILES:
        assert "noqa: E402" not in path.read_text(), relative(path)


def test_shared_loading_knows_no_system_and_no_towers():
    names = re.compile(r"\bclip|openai|quickgelu|irra|base_model|visual", re.IGNORECASE)
    text = (PACKAGE / "systems" / "loading.py").read_text()
    code = re.sub(r'"""(?s:.*?)"""', "", text)
    assert not names.findall(code)


def test_no_file_is_a_drawer_of_odds_and_ends():
    odd = {"utils", "util", "misc", "common", "helpers", "build"}
    assert [relative(path) for path in FILES if path.stem in odd] == []


def test_a_class_name_has_one_meaning():
    homes = {}
    for path in FILES:
        for node in walk(path)[0].body:
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(relative(path))
    assert {name for name, places in homes.items() if len(places) > 1} == SAME_SENSE.keys()


def test_files_stay_short():
    lengths = {relative(path): len(path.read_text().splitlines()) for path in FILES}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}


def functions():
    for path in FILES:
        for node in walk(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def test_functions_stay_short_and_take_few_positional_arguments():
    for path, node in functions():
        where = f"{relative(path)}:{node.lineno} {node.name}"
        assert node.end_lineno - node.lineno < LONGEST_FUNCTION, f"{where} is too long"
        positional = [argument.arg for argument in node.args.posonlyargs + node.args.args]
        assert len([name for name in positional if name not in ("self", "cls", "ctx")]) <= 6, where


def test_every_argument_and_result_is_typed():
    for path, node in functions():
        where = f"{relative(path)}:{node.lineno} {node.name}"
        arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
        bare = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
        assert not bare and node.returns is not None, f"{where}: untyped {bare or 'result'}"


def test_few_lines_are_copies():
    windows: Counter[tuple[str, ...]] = Counter()
    for path in FILES:
        docless = [line.strip() for line in path.read_text().splitlines()]
        lines = [line for line in docless if line and not line.startswith("#")]
        windows.update(tuple(lines[i : i + WINDOW]) for i in range(len(lines) - WINDOW + 1))
    copied = sum(count for count in windows.values() if count > 1)
    worst = [window for window, count in windows.most_common(3) if count > 1]
    assert copied / sum(windows.values()) < MOST_COPIED, worst


def test_no_work_is_left_as_a_note():
    words = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    texts = [
        *FILES,
        *(ROOT / "scripts").rglob("*.py"),
        *(ROOT / "configs").rglob("*.yaml"),
        ROOT / "README.md",
    ]
    assert [relative(path) for path in texts if words.search(path.read_text())] == []
