"""Files, options, counts and published numbers that the documents name are those of the project."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from tests.documents.blocks import (
    DOCUMENTS,
    README,
    ROOT,
    expand_braces,
    find_blocks,
    table_rows,
)
from tests.marks import slow_except
from tests.systems.members import list_members
from tpr.config.options import describe_options
from tpr.config.published import PublishedOptions
from tpr.config.reader import read_tree
from tpr.config.schema import Experiment
from tpr.config.typed import read_experiment
from tpr.data.adapters import ADAPTERS, Adapter, Counts
from tpr.data.adapters.base import SubsetOptions
from tpr.drawn.layouts import DEFAULT_IDENTITIES, DEFAULT_SETS, PLANNERS
from tpr.systems import SYSTEMS, TABLES
from tpr.systems.irra import Losses

DATA = [ROOT / "docs" / "data_formats.md", ROOT / "docs" / "data.md"]
RECIPES = ROOT / "docs" / "recipes.md"
NAMED_PATH = re.compile(r"(?<![\w/.-])((?:configs|docs|tpr|scripts|tests)/[\w./{},*-]*\w)")
OPTION = re.compile(r"`([a-z]+(?:\.[a-z_0-9]+)+)(?:[=:][^`]*)?`")
NUMBER = re.compile(r"\b\d+\.\d\d\b")
BENCHMARKS = ("cuhk_pedes", "icfg_pedes", "rstpreid")
MADE_BY_THE_READER = {block.place for block in find_blocks("python", "yaml") if block.place}
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def recipes() -> set[str]:
    """Every config that names what to train on; the others are bases alone."""
    paths = sorted((ROOT / "configs").rglob("*.yaml"))
    return {str(path.relative_to(ROOT)) for path in paths if "train" in read_tree(path).values["data"]}


def published(config: str) -> tuple[PublishedOptions, ...]:
    return read_experiment(ROOT / config, (), TABLES).report.published


def show(config: str, dataset: str) -> str:
    """R@1 / mAP of the first published row of a set, as the README's table has them."""
    rows = [row for row in published(config) if row.dataset == dataset]
    values = [rows[0].measures.get(name) if rows else None for name in ("r1", "map")]
    return " / ".join("-" if value is None else f"{value:.2f}" for value in values) if rows else "-"


@each_document
def test_named_files_exist(document: Path) -> None:
    for found in NAMED_PATH.findall(read(document)):
        for path in expand_braces(found):
            assert path in MADE_BY_THE_READER or list(ROOT.glob(path)), f"{document.name} names {path}"


@each_document
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", read(document)):
        assert target.startswith("https://") or (document.parent / target).exists(), target


@each_document
def test_named_options_exist(document: Path) -> None:
    known = {row.name.replace("[]", "") for row in describe_options(Experiment, TABLES)}
    groups = {field.name for field in fields(Experiment)}
    for name in OPTION.findall(read(document)):
        if name.partition(".")[0] in groups:
            assert name in known, f"{document.name} names {name}"


def test_every_recipe_has_a_row_in_the_readme() -> None:
    named = [path for row in table_rows(read(README)) for path in NAMED_PATH.findall(row[0])]
    assert sorted(path for name in named for path in expand_braces(name)) == sorted(recipes())


def test_published_numbers_in_the_readme_are_those_of_the_recipes() -> None:
    rows = [row for row in table_rows(read(README)) if row[0].startswith("`configs/")]
    for row in rows:
        (name,) = NAMED_PATH.findall(row[0])
        configs = expand_braces(name)
        datasets = ("sysu_mm01 all", "regdb", "llcm") if "/tvi_lfm/" in name else BENCHMARKS
        cells = [show(configs[number % len(configs)], dataset) for number, dataset in enumerate(datasets)]
        assert row[1:4] == (["-"] * 3 if "/drawn/" in name else cells), name


def test_published_numbers_of_the_recipes_are_all_in_the_docs() -> None:
    written = set(NUMBER.findall(read(RECIPES)))
    for config in recipes():
        values = [f"{value:.2f}" for row in published(config) for value in row.measures.values()]
        assert set(values) <= written, config


def test_hyper_parameters_in_the_docs_are_those_of_the_configs() -> None:
    pretrain, finetune = (
        yaml.safe_load(read(ROOT / f"configs/shared/{name}.yaml")) for name in ("pretrain", "finetune")
    )
    rows = {row[0]: row[1:] for row in table_rows(read(RECIPES))}
    assert rows["epochs"] == [str(config["schedule"]["epochs"]) for config in (pretrain, finetune)]
    assert rows["global batch"] == [str(config["data"]["batch"]) for config in (pretrain, finetune)]
    assert rows["temperature"] == [str(config["system"]["temperature"]) for config in (pretrain, finetune)]
    assert pretrain["optim"] == finetune["optim"]
    assert f"eps {finetune['optim']['eps']}, L2 decay {finetune['optim']['weight_decay']}" in read(RECIPES)
    assert pretrain["system"]["groups"] == "single"
    options = SYSTEMS["irra"].Options()
    assert (float(finetune["optim"]["lr"]), options.new_lr, options.bias_lr) == (1e-5, 5.0, 2.0)
    assert options.losses == Losses(sdm=1, id=1, mlm=1, itc=0, cmpm=0)


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_data_set_is_described(name: str) -> None:
    text, adapter = "\n".join(map(read, DATA)), ADAPTERS[name]
    assert f"`{name}`" in text
    common = {field.name for field in fields(SubsetOptions)}
    for word in (*adapter.folders, *getattr(adapter, "files", ()), *options_of(adapter), *common):
        assert re.search(rf"`(\w+/)?{re.escape(word)}[`:]", text), f"{name}: {word}"
    row = next((" | ".join(row) for row in table_rows(text) if row[0] == f"`{name}`"), "")
    for counts in adapter.counts.values():
        assert describe(counts) in row, f"{name}: {describe(counts)}"


def options_of(adapter: type[Adapter]) -> list[str]:
    return [field.name for field in fields(adapter.Options)]


def describe(counts: Counts) -> str:
    captions = "-" if counts.captions is None else f"{counts.captions:,}"
    if counts.identities is None:
        about = "" if counts.exact else "about "
        return f"no identities / {about}{counts.images:,} / {captions}"
    return f"{counts.identities:,} / {counts.images:,} / {captions}"


SMALL_SETS = {"icfg_pedes", "ham_pedes", "mals"}
each_drawn_set = pytest.mark.parametrize("name", slow_except(SMALL_SETS, PLANNERS))


def told_sizes() -> dict[str, list[str]]:
    text = read(ROOT / "docs" / "drawn_world.md")
    return {row[0].strip("`"): row[1:] for row in table_rows(text) if row[0].startswith("`")}


def test_the_drawn_sets_are_those_that_are_told() -> None:
    assert list(told_sizes()) == list(PLANNERS)
    assert list(PLANNERS)[: len(DEFAULT_SETS)] == list(DEFAULT_SETS)


@each_drawn_set
def test_a_drawn_set_has_the_size_that_is_told(name: str) -> None:
    world = PLANNERS[name](DEFAULT_IDENTITIES, 0)
    people = "-" if world.identities is None else f"{world.identities:,}"
    assert told_sizes()[name] == [people, f"{len(world.shots):,}", f"{world.captions:,}"]


@pytest.mark.parametrize("name", ["cuhk_pedes", "icfg_pedes", "rstpreid"])
def test_no_drawn_person_is_both_trained_on_and_tested_with(name: str) -> None:
    (records,) = PLANNERS[name](20, 0).files.values()
    people: dict[str, set[int]] = {}
    for record in records:
        people.setdefault(record["split"], set()).add(record["id"])
    assert len(people["test"]) == 20
    assert sum(map(len, people.values())) == len(set().union(*people.values()))


def test_the_members_and_packages_in_the_docs_are_those_of_the_code() -> None:
    rows = table_rows(read(ROOT / "docs" / "design.md"))
    packages = [row[0].strip("`") for row in rows if row[0].startswith("`tpr/")]
    folders = [path.parent for path in (ROOT / "tpr").glob("*/__init__.py")]
    assert sorted(packages) == sorted(str(path.relative_to(ROOT)) for path in folders)
    members = [row[0].strip("`") for row in rows if not row[0].startswith("`tpr/") and row[0].startswith("`")]
    assert sorted(members) == sorted(list_members())


@each_document
def test_no_work_is_left_as_a_note(document: Path) -> None:
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", read(document))
