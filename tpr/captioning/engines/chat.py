"""What a model is told and what its answer means: one user turn, the image before the instruction.

The image comes first, so that the captions of one image share their beginning and a server with
prefix caching reads it once.
"""

import base64
import io
import logging
import re
from functools import cache
from typing import Any

from PIL import Image

from tpr.captioning.engines.base import TRUNCATED, UNREADABLE, CaptionReply, CaptionRequest
from tpr.errors import DataError

logger = logging.getLogger(__name__)

EMPTY = "empty reply"
ENDLESS_THOUGHT = "a thought without an end"
THOUGHT = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
THOUGHT_MARK = re.compile(r"<(/?)think(?:ing)?>", re.IGNORECASE)


def open_image(request: CaptionRequest) -> Image.Image | None:
    """The whole image in RGB; None if it cannot be read."""
    from tpr.data.images.reader import decode, load_image

    assert request.has_image
    try:
        pixels = load_image(request.path) if request.path is not None else decode(request.data or b"")
    except DataError:
        return None
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def unreadable() -> CaptionReply:
    """The reply for an image that no retry will mend."""
    return CaptionReply(text=None, failure=UNREADABLE, is_fatal=True)


def make_reply(text: str, *, is_cut: bool) -> CaptionReply:
    """The reply for a model's answer, without what it thought; is_cut: it ended because it grew too long."""
    answer = remove_thoughts(text)
    if answer is None:
        return CaptionReply(text=None, failure=ENDLESS_THOUGHT)
    if is_cut:
        return CaptionReply(text=None, failure=TRUNCATED)
    words = answer.strip()
    return CaptionReply(text=words) if words else CaptionReply(text=None, failure=EMPTY)


def remove_thoughts(text: str) -> str | None:
    """A model's answer without <think>...</think>; None where a thought does not end.

    Chat templates may write the beginning of a thought into the prompt: the answer then holds its end alone.
    """
    if not THOUGHT_MARK.search(text):
        return text
    tell_of_thoughts()
    rest = THOUGHT.sub(" ", text)
    left = list(THOUGHT_MARK.finditer(rest))
    if not left:
        return rest
    return rest[left[-1].end() :] if left[-1][1] else None


@cache
def tell_of_thoughts() -> None:
    """Say once that the model thinks aloud."""
    logger.warning(
        "the model thinks aloud; captions are kept without <think>...</think>, but thoughts cost time and "
        "count as new tokens: let its chat template or its server turn thinking off"
    )


def local_messages(instruction: str) -> list[dict[str, Any]]:
    """One user turn for the chat templates of transformers; the image travels apart from it."""
    content = [{"type": "image"}, {"type": "text", "text": instruction}]
    return [{"role": "user", "content": content}]


def server_messages(instruction: str, image_url: str | None) -> list[dict[str, Any]]:
    """One user turn in the form of OpenAI's chat completions; without an image the text alone."""
    if image_url is None:
        return [{"role": "user", "content": instruction}]
    image = {"type": "image_url", "image_url": {"url": image_url}}
    return [{"role": "user", "content": [image, {"type": "text", "text": instruction}]}]


def data_url(image: Image.Image, longest_side: int, quality: int) -> str:
    """The image as a JPEG inside a URL; shrunk in proportion to the bound, never cropped or enlarged."""
    scale = longest_side / max(image.size)
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def pad_to_square(image: Image.Image, fill: tuple[int, int, int]) -> Image.Image:
    """The image in the middle of a square of its longest side, where no later step finds a side to cut."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), fill)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square
