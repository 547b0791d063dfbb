"""Every protocol by the name that adapters use; its options are the group of that name below `evaluation`."""

from tpr.evaluation.protocols.base import Protocol
from tpr.evaluation.protocols.image import ImageRetrieval
from tpr.evaluation.protocols.text import TextRetrieval
from tpr.evaluation.protocols.visible_infrared import VisibleInfrared

PROTOCOLS: dict[str, type[Protocol]] = {
    "text": TextRetrieval,
    "image": ImageRetrieval,
    "visible_infrared": VisibleInfrared,
}

__all__ = ["PROTOCOLS", "Protocol"]
