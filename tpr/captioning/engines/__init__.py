"""The table of engines. Their heavy libraries are imported when one is built, not here."""

from tpr.captioning.engines.base import CaptionReply, CaptionRequest, Engine
from tpr.captioning.engines.echo import Echo

__all__ = ["ENGINES", "CaptionReply", "CaptionRequest", "Engine"]

ENGINES: dict[str, type[Engine]] = {
    "echo": Echo,
}
