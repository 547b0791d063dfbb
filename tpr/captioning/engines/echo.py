"""An engine without a model, for tests and dry runs: fills the template, or a sentence of its own, by seed.

The text says nothing about the image. A share of the replies can be made bad in every way that the
filters know, so that a plan's retries and failures can be tried out before a model is paid for.
"""

import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from tpr.captioning.engines.base import UNREADABLE, CaptionReply, CaptionRequest, Engine
from tpr.captioning.texts import SUBJECT
from tpr.config.ranges import Count, Range, Share

WORDS = {
    "clothing": ("a red jacket over grey trousers", "a white shirt and blue jeans", "a long black coat"),
    "footwear": ("white sneakers", "brown leather boots", "black sandals", "grey running shoes"),
    "hair": ("short black hair", "long brown hair", "a blonde ponytail", "curly grey hair"),
    "accessory": ("a striped scarf", "dark sunglasses", "a silver watch", "a green cap"),
    "belongings": ("a brown backpack", "a shopping bag", "a folded umbrella", "a small suitcase"),
}
PEOPLE = ("person", "woman", "man")
OWN = (
    f"The {SUBJECT} with [hair description] is wearing [clothing description] and "
    "[footwear description], with [accessory description], and is carrying [belongings description]."
)
QUOTED = re.compile(r'"([^"]*\[[^"]*)"')
SLOT = re.compile(r"\[(\w+) description\]")
BAD = (
    "",
    "The person is wearing [clothing description] and has long brown hair today.",
    "The <box>person</box> is wearing a red jacket and blue jeans with white shoes.",
    "I'm sorry, but I cannot describe the person in this image for you.",
    "A man.",
    "The woman with long hair is wearing a red jacket and is carrying a brown",
    "Una mujer lleva una chaqueta roja, pantalones grises, zapatos blancos y una mochila negra.",
)


class Echo(Engine):
    """Sentences by seed alone."""

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """Options of `echo`."""

        batch: Count = 256
        """Requests of one call."""
        open_images: bool = True
        """Decode every image, so that unreadable ones are failures; false: images are not looked at."""
        bad: Share = 0.0
        """Share of replies that are bad on purpose; a later attempt is drawn anew."""
        seconds: Annotated[float, Range(0, 10_000_000)] = 0.0
        """Time that each call takes."""

    def __init__(self, options: Any) -> None:
        self.options: Echo.Options = options
        self.batch = self.options.batch
        self.looked: tuple[str, bool] | None = None

    def describe(self) -> dict[str, Any]:
        """No model at all."""
        return {"model": "echo"}

    def generate(self, requests: Sequence[CaptionRequest]) -> list[CaptionReply]:
        """One sentence each."""
        time.sleep(self.options.seconds)
        return [self.answer(request) for request in requests]

    def answer(self, request: CaptionRequest) -> CaptionReply:
        """The sentence of one request."""
        if self.options.open_images and request.has_image and not self.can_open(request):
            return CaptionReply(text=None, failure=UNREADABLE, is_fatal=True)
        draw = random.Random(request.seed)
        if draw.random() < self.options.bad:
            return CaptionReply(text=draw.choice(BAD))
        found = QUOTED.search(request.instruction)
        return CaptionReply(text=fill(found[1] if found else OWN, draw))

    def can_open(self, request: CaptionRequest) -> bool:
        """Whether an image decodes; the last one is remembered, since its captions come in a row."""
        if self.looked is None or self.looked[0] != request.image:
            from tpr.captioning.engines.chat import open_image

            self.looked = request.image, open_image(request) is not None
        return self.looked[1]


def fill(template: str, draw: random.Random) -> str:
    """The template with every slot filled; one word for the person throughout."""
    text = template.replace(SUBJECT, draw.choice(PEOPLE))
    return SLOT.sub(lambda slot: draw.choice(WORDS[slot[1]]), text)
