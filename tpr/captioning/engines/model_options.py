"""Options of whatever loads a model of the transformers library; nothing heavy is imported here."""

from dataclasses import dataclass
from typing import Literal

from tpr.config.ranges import Count
from tpr.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, and how it is loaded."""

    model: str
    """Folder of the model; hub:ORG/NAME fetches one from the Hugging Face hub."""
    revision: str | None = None
    """Commit, branch or tag of a hub model; absent: its main branch."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU that torch can see."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """Precision of what is not trained and of arithmetic; auto is bf16 on a GPU that has it, else float32."""
    min_visual_tokens: Count = 256
    """Qwen: small images are enlarged in proportion until they fill this number of tokens."""
    max_visual_tokens: Count = 1280
    """Qwen: large images are shrunk in proportion until they fill no more tokens."""

    def __post_init__(self) -> None:
        if self.max_visual_tokens < self.min_visual_tokens:
            raise ConfigError("max_visual_tokens must not be below min_visual_tokens")
        if self.revision is not None and not self.model.startswith("hub:"):
            raise ConfigError("revision is for hub:ORG/NAME; a folder has none")
