"""Training objectives: pure functions of tensors, float32 inside."""

from tpr.objectives.contrastive import Gathered, cmpm, itc, sdm
from tpr.objectives.identity import identity_loss
from tpr.objectives.masked_words import LabelledPositions, masked_word_loss
from tpr.objectives.triplet import tal

__all__ = ["Gathered", "LabelledPositions", "cmpm", "identity_loss", "itc", "masked_word_loss", "sdm", "tal"]
