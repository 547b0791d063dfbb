"""From a model folder to a captioner: which families there are, how they are read and checked.

Newer families are looked up by name when they are asked for, so that an older transformers still imports.
Weights are read as safetensors or with weights-only unpickling; no code of a model folder is run.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from tpr.captioning.engines.captioners import BlipCaptioner, Captioner, ChatCaptioner
from tpr.captioning.engines.geometry import fit_llava, fit_nothing, fit_qwen, fit_text
from tpr.captioning.engines.language_models import LanguageModel
from tpr.errors import CheckpointError, ConfigError, UserError

HUB = "hub:"
HUB_TAG = re.compile(r"[\w.-]+/[\w.-]+")
MISSING_SHOWN = 3
MOST_QUOTED = 200


@dataclass(frozen=True)
class Family:
    """One kind of captioning model."""

    model: str
    """Class of the model in transformers."""
    processors: tuple[str, ...]
    """Classes that its processor may have; none for a language model, which has a tokenizer alone."""
    since: str
    """First transformers that has it."""
    captioner: type[Captioner]
    """How it is asked."""
    fit: Callable[[Any, Any, tuple[int, int]], None]
    """Sets its image processor so that the whole person is seen."""
    is_padded: bool = False
    """Images are padded to a square before they are resized to one."""


FAMILIES = {
    "blip": Family("BlipForConditionalGeneration", ("BlipProcessor",), "4.22", BlipCaptioner, fit_nothing),
    "llava": Family(
        "LlavaForConditionalGeneration", ("LlavaProcessor",), "4.36", ChatCaptioner, fit_llava, is_padded=True
    ),
    "llava_next": Family(
        "LlavaNextForConditionalGeneration", ("LlavaNextProcessor",), "4.39", ChatCaptioner, fit_llava
    ),
    "qwen2_5_vl": Family(
        "Qwen2_5_VLForConditionalGeneration", ("Qwen2_5_VLProcessor",), "4.49", ChatCaptioner, fit_qwen
    ),
    "qwen3_vl": Family(
        "Qwen3VLForConditionalGeneration", ("Qwen3VLProcessor",), "4.57", ChatCaptioner, fit_qwen
    ),
    "llama": Family("LlamaForCausalLM", (), "4.28", LanguageModel, fit_text),
    "mistral": Family("MistralForCausalLM", (), "4.34", LanguageModel, fit_text),
    "qwen2": Family("Qwen2ForCausalLM", (), "4.37", LanguageModel, fit_text),
    "qwen3": Family("Qwen3ForCausalLM", (), "4.51", LanguageModel, fit_text),
}
"""By `model_type` of config.json."""


def load_captioner(
    model: str, *, revision: str | None, device: str, precision: str, visual_tokens: tuple[int, int]
) -> Captioner:
    """A captioner from a folder or a hub tag; every way to fail is one line."""
    place = choose_device(device)
    dtype = choose_dtype(precision, place)
    name, source = find_source(model, revision)
    with quiet(), _explained(model):
        settings, _ = transformers.PretrainedConfig.get_config_dict(name, **source)
    family = find_family(model, settings)
    kind = getattr(transformers, family.model, None)
    if kind is None:
        raise UserError(
            f"transformers: model={model} needs transformers {family.since} or newer for {family.model}, "
            f"installed is {transformers.__version__}; run `pip install -U transformers`"
        )
    with quiet(), _explained(model):
        reader = transformers.AutoProcessor if family.processors else transformers.AutoTokenizer
        processor = reader.from_pretrained(name, trust_remote_code=False, **source)
        network, report = kind.from_pretrained(
            name, output_loading_info=True, **_weight_arguments(kind, dtype), **source
        )
    _check_loaded(model, report)
    found = type(processor).__name__
    if family.processors and found not in family.processors:
        raise UserError(f"transformers: model={model} comes with {found}, expected {family.processors[0]}")
    family.fit(processor, network.config, visual_tokens)
    with _explained(model):  # also a GPU that is too small
        return family.captioner(network.to(place).eval(), processor, is_padded=family.is_padded)


def find_source(model: str, revision: str | None) -> tuple[str, dict[str, Any]]:
    """Name and arguments that the library loads by; only a hub tag may reach for the network."""
    if model.startswith(HUB):
        tag = model.removeprefix(HUB)
        if not HUB_TAG.fullmatch(tag):
            raise ConfigError(f"transformers: model={model}: a hub model is written hub:ORG/NAME")
        return tag, {"local_files_only": False, "revision": revision or "main"}
    folder = Path(model).expanduser()
    if not folder.is_dir():
        advice = (
            f"; a model of the Hugging Face hub is written hub:{model}" if HUB_TAG.fullmatch(model) else ""
        )
        raise CheckpointError(f"transformers: model={model}: no such folder{advice}")
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"transformers: model={model} has no config.json: no model folder of transformers"
        )
    return str(folder), {"local_files_only": True}


def find_family(model: str, settings: dict[str, Any]) -> Family:
    """The family that a config.json names; UserError for a model that writes no captions of images."""
    kind = settings.get("model_type")
    if kind not in FAMILIES:
        raise UserError(
            f"transformers: model={model} is of type {kind!r}, no captioner that is known here; "
            f"known: {', '.join(FAMILIES)}"
        )
    family = FAMILIES[str(kind)]
    built_as = settings.get("architectures") or [family.model]
    if family.model not in built_as:
        raise UserError(
            f"transformers: model={model} holds {', '.join(map(str, built_as))}, "
            f"no captioner; expected {family.model}"
        )
    return family


def choose_device(name: str) -> torch.device:
    """The device of an option's word."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "transformers: device=cuda, but torch sees no GPU; check the driver, or set device=cpu"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The precision of an option's word on this device."""
    has_bf16 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.bfloat16 if name == "bf16" or (name == "auto" and has_bf16) else torch.float32


def _weight_arguments(kind: Any, dtype: torch.dtype) -> dict[str, Any]:
    """Precision, whose argument 5.0 renamed, and no pickled code, which 4.45 forbids without being asked."""
    is_new = int(transformers.__version__.split(".")[0]) >= 5
    arguments: dict[str, Any] = {"dtype" if is_new else "torch_dtype": dtype}
    if "weights_only" in inspect.signature(kind.from_pretrained).parameters:
        arguments["weights_only"] = True
    return arguments


def _check_loaded(model: str, report: dict[str, Any]) -> None:
    """Refuse weights with gaps: the library fills them with random numbers and goes on."""
    missing = sorted(name for name in report["missing_keys"] if not name.endswith("position_ids"))
    misfits = [str(entry[0]) for entry in report.get("mismatched_keys") or ()]
    for names, problem in ((missing, "lack"), (misfits, "have another shape of")):
        if names:
            shown = ", ".join(names[:MISSING_SHOWN])
            raise CheckpointError(
                f"transformers: model={model}: its weights {problem} {len(names)} tensors, such as {shown}"
            )


@contextmanager
def _explained(model: str) -> Iterator[None]:
    """Whatever the library raises about a folder, in one line; the cause stays attached."""
    try:
        yield
    except UserError:
        raise
    except ImportError as error:
        raise UserError(
            f"transformers: model={model} needs a package that is missing: {_first_line(error)}; "
            "run `pip install 'tpr[captions]'`, or install what it names"
        ) from error
    except Exception as error:  # damaged files make it raise nearly anything
        advice = ""
        if model.startswith(HUB):
            advice = "; fetch it on a machine with a network, copy the folder here and set model=FOLDER"
        raise CheckpointError(
            f"transformers: model={model} cannot be read ({_first_line(error)}){advice}"
        ) from error


def _first_line(error: Exception) -> str:
    words = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {words[:MOST_QUOTED]}" if words else type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """The library's progress bars and advice stay off while a folder is read."""
    logs = transformers.utils.logging
    level, had_bars = logs.get_verbosity(), logs.is_progress_bar_enabled()
    logs.set_verbosity_error()
    logs.disable_progress_bar()
    try:
        yield
    finally:
        logs.set_verbosity(level)
        if had_bars:
            logs.enable_progress_bar()
