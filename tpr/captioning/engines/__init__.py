"""The table of engines. Their heavy libraries are imported when one is built, not here."""

from tpr.captioning.engines.base import CaptionReply, CaptionRequest, Engine
from tpr.captioning.engines.echo import Echo
from tpr.captioning.engines.openai_server import OpenAIServer
from tpr.captioning.engines.transformers_models import TransformersModel

__all__ = ["ENGINES", "CaptionReply", "CaptionRequest", "Engine"]

ENGINES: dict[str, type[Engine]] = {
    "echo": Echo,
    "openai": OpenAIServer,
    "transformers": TransformersModel,
}
