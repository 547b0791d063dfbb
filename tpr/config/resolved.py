"""An experiment back to plain values: the run folder's `config.yaml`, and a hash to compare runs."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import ScalarNode

from tpr.config.changeable import drop_changeable
from tpr.config.groups import groups_of
from tpr.config.schema import Choice, Experiment


def to_tree(experiment: Experiment) -> dict[str, Any]:
    """Every option as plain YAML values, defaults included; `build_experiment` makes it equal again."""
    tree: dict[str, Any] = plain_value(experiment)
    return tree


def dump_yaml(experiment: Experiment) -> str:
    """The resolved experiment as YAML text; training with it repeats the run."""
    return yaml.dump(to_tree(experiment), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def dump_value(value: Any) -> str:
    """One plain value on one line as YAML reads it."""
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=float("inf"))
    return text.removesuffix("\n").removesuffix("\n...")


def fingerprint(experiment: Experiment) -> str:
    """Short hash of all options but those that may change between two starts of one run."""
    tree = drop_changeable(to_tree(experiment), Experiment)
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:12]


def plain_value(value: Any) -> Any:
    """Options as YAML types: dataclasses and choices as mappings, tuples as lists, paths as text."""
    if isinstance(value, Choice):
        return {"name": value.name, **plain_value(value.options)}
    if is_dataclass(value):
        tree: dict[str, Any] = {}
        for field in (field for field in fields(value) if field.init):
            plain = plain_value(getattr(value, field.name))
            tree |= plain if groups_of(field) is not None else {field.name: plain}
        return tree
    if isinstance(value, Mapping):
        return {key: plain_value(value[key]) for key in value}
    if isinstance(value, (tuple, list)):
        return [plain_value(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


class _Dumper(yaml.SafeDumper):
    """One option a line; lists of plain values stay on theirs; nothing is written as an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_list(self, data: Any) -> yaml.SequenceNode:
        node: yaml.SequenceNode = super().represent_list(data)
        node.flow_style = all(isinstance(entry, ScalarNode) for entry in node.value)
        return node


_Dumper.add_representer(list, _Dumper.represent_list)
