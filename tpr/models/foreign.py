"""Weights in files of other programs: found under any key, without the names of what wrapped the model."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from tpr.errors import CheckpointError
from tpr.models.pickles import Name, StoredTensor, Unbuilt
from tpr.models.torch_files import DEEPEST, SAVE_WEIGHTS, refuse, shorten

CONTAINERS = ("model", "state_dict", "model_state_dict", "module")
"""Keys that are taken where several hold weights."""
MODULE_PARTS = ("_parameters", "_buffers", "_modules")
"""Attributes of a pickled nn.Module that hold its weights."""
MOST_WEIGHTS = 1_000_000
WRAPPERS = ("module.", "model.")
"""What DDP, Lightning and others put before the names of the whole model."""
INSERTED = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What compiling and wrapping a part puts into its names."""
KNOWN_MODEL = re.compile(
    r"((?:[^.]+\.)*?)(?:base_model\.)?"
    r"(?:visual\.(?:conv1|visible\.conv|rgb_model\.resnet_conv\.0)|vision_model\.embeddings\.patch_embedding)"
    r"\.weight"
)
"""The first layer of every image tower that is known here, behind what wraps the model."""
NEXT_STEP = f"save the weights alone in the program that wrote it: {SAVE_WEIGHTS}"
COUNT_OF_AVERAGED = "n_averaged"
"""torch's AveragedModel keeps it next to the model."""
ODD_TENSORS = {
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor; save it again with .to_dense()",
    "torch._utils._rebuild_sparse_csr_tensor": "a sparse tensor; save it again with .to_dense()",
    "torch._utils._rebuild_qtensor": "a quantised tensor; save the weights from before quantisation",
    "torch._utils._rebuild_meta_tensor_no_storage": "without values (on the device meta); save it from where "
    "they are",
    "torch._utils._rebuild_nested_tensor": "a nested tensor; save it again as plain tensors",
}


def choose_weights(path: Path, content: Any) -> dict[str, StoredTensor]:
    """The tensors of the one place that holds weights: the file itself, a key, or a key within one.

    content: as `pickles.py` reads it. Raises CheckpointError in one line where there is no such place, where
    there are several, and where a tensor's values cannot be read.
    """
    if not isinstance(content, Mapping | Unbuilt):
        raise CheckpointError(f"{path}: holds {_describe(content)}, expected weights by name; {NEXT_STEP}")
    try:
        places = {where: weights for where, value in _walk(content) if (weights := _name_weights(value))}
    except ValueError:
        raise CheckpointError(f"{path}: its modules are nested without end") from None
    if not places:
        unbuilt = next((value for _, value in _walk(content) if isinstance(value, Unbuilt | Name)), None)
        if unbuilt is None:
            raise CheckpointError(
                f"{path}: holds no weights by name, nor do two keys within it; found {list_names(content)}; "
                f"{NEXT_STEP}"
            )
        raise refuse(path, f"pickled code ({shorten(unbuilt)})")
    chosen: dict[str, StoredTensor] = {}
    for name, value in places[_choose(path, places)].items():
        if isinstance(value, Unbuilt):
            raise CheckpointError(f"{path}: {name} is {ODD_TENSORS[value.name]}")
        chosen[name] = value
    return chosen


def _describe(content: Any) -> str:
    """What a file holds in place of weights, in words of its users."""
    if isinstance(content, StoredTensor):
        return "a single tensor"
    return "nothing" if content is None else f"a {type(content).__name__}"


def _walk(content: Any, depth: int = 2) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Keys and value of each place down to a key within a key, those above first."""
    yield (), content
    below: dict[tuple[str, ...], Any] = {(): content}
    for _ in range(depth):
        below = {
            (*keys, str(key)): inner
            for keys, value in below.items()
            if isinstance(value, Mapping)
            for key, inner in value.items()
        }
        yield from below.items()


def _name_weights(value: Any) -> dict[str, StoredTensor | Unbuilt]:
    """Tensors of a mapping, or of a module and the modules within it. Raises ValueError for a circle."""
    named: dict[str, StoredTensor | Unbuilt] = {}
    if isinstance(value, Mapping):
        return {str(name): part for name, part in value.items() if _is_tensor(part)}
    if not isinstance(value, Unbuilt):
        return named
    modules, seen = [("", value, 0)], 0
    while modules:
        prefix, module, depth = modules.pop()
        for name, part in _list_parts(module):
            seen += 1
            if _is_tensor(part):
                named[prefix + name] = part
            elif isinstance(part, Unbuilt):
                modules.append((f"{prefix}{name}.", part, depth + 1))
        if depth > DEEPEST or seen > MOST_WEIGHTS:
            raise ValueError("modules are nested without end")
    return named


def _list_parts(module: Unbuilt) -> Iterator[tuple[str, Any]]:
    """Attributes of a module of TorchScript; of a pickled nn.Module what it keeps for its weights."""
    kept = [module.attributes[part] for part in MODULE_PARTS if part in module.attributes]
    for part in kept or [module.attributes]:
        if isinstance(part, Mapping):
            yield from ((str(name), value) for name, value in part.items())


def _is_tensor(value: Any) -> bool:
    return isinstance(value, StoredTensor) or (isinstance(value, Unbuilt) and value.name in ODD_TENSORS)


def _choose(path: Path, places: Mapping[tuple[str, ...], Mapping[str, Any]]) -> tuple[str, ...]:
    for container in CONTAINERS:
        if (container,) in places:
            return (container,)
    most = max(map(len, places.values()))
    # A random state or a running loss next to the weights is a tensor as well.
    largest = [keys for keys, weights in places.items() if len(weights) == most]
    if len(largest) == 1 and (len(places) == 1 or () in places):
        return largest[0]
    shown = [".".join(keys) or "the file itself" for keys in places]
    steps = "".join(f"[{key!r}]" for key in next(keys for keys in places if keys))
    raise CheckpointError(
        f"{path}: holds weights under several names ({list_names(shown)}); keep those that you want: "
        f'torch.save(torch.load("{path.name}"){steps}, "weights.pt")'
    )


def strip_wrappers(path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights without what DDP, torch.compile, FSDP and Lightning put before or into all names.

    Where the whole of a known model has a prefix of its own, such as `student.`, that goes as well, and names
    that lack it stay. path: name in messages. Raises CheckpointError where several known models have one.
    """
    weights = {name: value for name, value in state.items() if name != COUNT_OF_AVERAGED}
    whole = {INSERTED.sub("", name): value for name, value in weights.items()}
    if len(whole) < len(weights):
        return dict(state)
    while wrapper := _find_wrapper(whole):
        whole = {name.removeprefix(wrapper): value for name, value in whole.items()}
    prefix = _find_prefix(path, whole)
    others = {name: value for name, value in whole.items() if not name.startswith(prefix)}
    return others | {name[len(prefix) :]: whole[name] for name in whole if name.startswith(prefix)}


def _find_wrapper(names: Mapping[str, Any]) -> str | None:
    found = (word for word in WRAPPERS if all(name.startswith(word) for name in names))
    return next(found, None) if names else None


def _find_prefix(path: Path, names: Iterable[str]) -> str:
    """What stands before the names of the one known model; nothing where one stands without."""
    prefixes = {match[1] for name in names if (match := KNOWN_MODEL.fullmatch(name))}
    if len(prefixes) < 2 or "" in prefixes:
        return "" if "" in prefixes else next(iter(prefixes), "")
    part = min(prefixes).rstrip(".")
    raise CheckpointError(
        f"{path}: holds {len(prefixes)} models ({list_names([*prefixes])}); save the one that you want alone "
        f"in the program that wrote it: {SAVE_WEIGHTS.replace('model.', f'model.{part}.')}"
    )


def list_names(names: Any) -> str:
    """Names, or the keys of a mapping, on one line."""
    shown = sorted(map(str, names)) if isinstance(names, Mapping | list) else []
    return ", ".join(f"{name:.80}" for name in shown[:6]) + (", ..." if len(shown) > 6 else "") or "nothing"
