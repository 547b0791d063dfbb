"""A captioning model of which only the styles' rows and the projector learn."""

import re
from contextlib import nullcontext
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tpr.captioning.engines.captioners import ChatCaptioner
from tpr.captioning.styles.batches import IGNORED, StyledBatch
from tpr.captioning.styles.rows import StyleRows
from tpr.errors import UserError

PROJECTOR = re.compile(r"\bmulti_modal_projector\.|\bvisual\.(merger|deepstack_merger_list)\.")
"""What stands between image and language in LLaVA and in Qwen."""
ROWS = "style_rows"
"""Name of the styles' rows among what is trained."""


class StyledModel(nn.Module):
    """The model as a step calls it: the loss of some captions, summed over their tokens."""

    def __init__(self, captioner: ChatCaptioner, rows: StyleRows, values: Tensor) -> None:
        """The rows are those of `add_styles`; values: what they begin with."""
        super().__init__()
        self.rows = rows
        self.model = _make_rows_trainable(captioner.model, rows)
        self.trained = dict(_find_trained(self.model))
        for parameter in self.trained.values():
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)
        self.load_trained({**self.copy_trained(), ROWS: values})

    def forward(self, inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
        """Sum of the negative log-likelihood of the labels, float32, over the model's own words alone."""
        output = self.model(**inputs, use_cache=False, logits_to_keep=labels.shape[1] + 1)
        # A column's scores are of the next token; the styles' own tokens are never written.
        scores = output.logits[:, :-1, : self.rows.first].float()
        return cross_entropy(scores.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")

    def compute(self, part: StyledBatch, module: nn.Module | None = None) -> Tensor:
        """Loss of some captions in the run's arithmetic; module: this model as DDP wraps it."""
        device, dtype = self.trained[ROWS].device, self.model.dtype
        inputs = {
            name: value.to(device, dtype if value.is_floating_point() else None)
            for name, value in part.inputs.items()
        }
        with torch.autocast(device.type, dtype) if dtype != torch.float32 else nullcontext():
            loss: Tensor = (module or self)(inputs, part.labels.to(device))
        return loss

    def copy_trained(self) -> dict[str, Tensor]:
        """Everything that learns, by name, on the CPU."""
        return {name: parameter.detach().cpu().clone() for name, parameter in self.trained.items()}

    def load_trained(self, values: dict[str, Tensor]) -> None:
        """Take over what `copy_trained` gave."""
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(values[name])


def check_extra() -> None:
    """Raises UserError where peft is not installed, before a large model is read."""
    if find_spec("peft") is None:
        raise UserError(
            "training styles needs peft, which is not installed; run `pip install 'tpr[captions]'`"
        )


def _make_rows_trainable(model: Any, rows: StyleRows) -> Any:
    """The model with the styles' rows as a parameter of their own, all else frozen."""
    from peft import TrainableTokensConfig, inject_adapter_in_model

    numbers = list(range(rows.first, rows.end))
    config = TrainableTokensConfig(token_indices=numbers, target_modules=["embed_tokens"])
    model = inject_adapter_in_model(config, model)
    return model.requires_grad_(False)


def _find_trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The styles' rows, then the projector's parameters under the names of the model."""
    named = list(model.named_parameters())
    rows = [parameter for name, parameter in named if "trainable_tokens_delta" in name]
    projector = [(name, parameter) for name, parameter in named if PROJECTOR.search(name)]
    if len(rows) != 1 or not projector:
        raise UserError(f"{type(model).__name__}: found no projector that styles could be taught with")
    return [(ROWS, rows[0]), *projector]


def recompute_layers(model: Any) -> None:
    """Let the backward pass compute each layer again; transformers 5 has another name for it."""
    is_new = hasattr(model, "activation_checkpointing_enable")
    name = "activation_checkpointing_enable" if is_new else "gradient_checkpointing_enable"
    getattr(model, name)({"use_reentrant": False})
