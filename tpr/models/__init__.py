"""Towers, heads and the weights that go into them."""

from tpr.models.architecture import ClipArchitecture, ImageArchitecture, TextArchitecture
from tpr.models.clip import ClipOptions, ClipTowers
from tpr.models.fitting import LoadReport, fit_state
from tpr.models.text_tower import EncodedText
from tpr.models.weights import Checkpoint, read_checkpoint

__all__ = [
    "Checkpoint",
    "ClipArchitecture",
    "ClipOptions",
    "ClipTowers",
    "EncodedText",
    "ImageArchitecture",
    "LoadReport",
    "TextArchitecture",
    "fit_state",
    "read_checkpoint",
]
