"""A model folder with its styles inside, which needs nothing of ours to be loaded."""

import json
from pathlib import Path
from typing import Any

import torch

from tpr.captioning.engines.transformers_loading import quiet
from tpr.captioning.styles.model import ROWS
from tpr.captioning.styles.options import TrainOptions
from tpr.captioning.styles.rows import StyleRows, set_rows
from tpr.captioning.styles.run_folder import read_styles
from tpr.captioning.styles.training import load_styled
from tpr.config.typed import build_options
from tpr.data.tables.walks import is_leftover
from tpr.errors import CheckpointError, ConfigError, DataError
from tpr.locks import LOCK_FILE, hold_made_folder
from tpr.systems import TABLES
from tpr.whole_files import write_whole

ABOUT = "annotator_styles.json"


def export_styles(checkpoint: Path, folder: Path, changes: dict[str, Any]) -> StyleRows:
    """Write the model of a training run; changes: options of the run, such as where the base model lies now.

    Raises UserError where the folder is not empty, or the base model is not the one that was trained;
    BusyError if another process is at work there.
    """
    check_empty(folder)
    state = read_styles(checkpoint)
    with hold_made_folder(folder, check_empty):
        return _export(state, checkpoint, folder, changes)


def check_empty(folder: Path) -> None:
    """Raise ConfigError where a folder holds anything but its lock and leftovers."""
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if not all(is_leftover(name) for name in names - {LOCK_FILE}):
        raise ConfigError(f"{folder}: is not empty; choose another folder")


def _export(state: dict[str, Any], checkpoint: Path, folder: Path, changes: dict[str, Any]) -> StyleRows:
    values = {**state["options"], "precision": state["precision"], "device": "cpu", **changes}
    options = build_options(TrainOptions, values, TABLES)
    rows = StyleRows(**state["rows"])
    captioner, found = load_styled(options, rows.styles)
    if found != rows:
        raise CheckpointError(f"{checkpoint}: was trained on another model than {options.model}")
    write_trained(captioner.model, rows, state["trained"], str(checkpoint))
    try:
        with quiet():
            captioner.model.save_pretrained(folder)
            captioner.processor.save_pretrained(folder)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror or error})") from None
    about = {
        "styles": rows.styles,
        "tokens": rows.tokens,
        "first_token": rows.first,
        "step": state["step"],
        "total_steps": state["total_steps"],
        "options": state["options"],
        "data_sha256": state["data_sha256"],
    }
    write_whole(folder / ABOUT, json.dumps(about, indent=1) + "\n")
    return rows


def write_trained(model: Any, rows: StyleRows, trained: dict[str, torch.Tensor], source: str) -> None:
    """Trained values into a model that `add_styles` has lengthened. Raises CheckpointError for a misfit."""
    own = dict(model.named_parameters())
    size = (rows.end - rows.first, model.get_input_embeddings().weight.shape[1])
    if ROWS not in trained or tuple(trained[ROWS].shape) != size:
        raise CheckpointError(f"{source}: its {ROWS} do not fit the model")
    for name, value in trained.items():
        if name != ROWS and (name not in own or own[name].shape != value.shape):
            raise CheckpointError(f"{source}: its {name} does not fit the model")
    set_rows(model, rows, trained[ROWS])
    with torch.no_grad():
        for name, value in trained.items():
            if name != ROWS:
                own[name].copy_(value)
