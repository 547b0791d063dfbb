"""Style-only text: captions rewritten by the lexicon, or by a language model with the lexicon behind it.

What a model wrote is kept line by line, so that a killed run asks for none of it again.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tpr.captioning.draws import draw_seed
from tpr.captioning.engines import CaptionReply, CaptionRequest, Engine
from tpr.captioning.filters import mend
from tpr.captioning.styles.lexicon import Lexicon
from tpr.captioning.texts import SHIPPED
from tpr.errors import ConfigError

PROMPT_FILE = Path("styles") / "rewrite.txt"
PLACE = "{caption}"
ATTEMPTS = 2
LENGTHS = (0.4, 1.6)
"""Least and most words of a rewriting, as a share of the caption's."""
MODEL, WORDS = "model", "words"


class Rewritten(NamedTuple):
    """A caption's style-only text, and what wrote it: `model` or `words`."""

    text: str
    by: str


def read_prompt(folder: Path | None) -> str:
    """What a language model is told, from a folder of texts; absent: the shipped one. Raises ConfigError."""
    path = (folder or SHIPPED) / PROMPT_FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); --texts names another folder") from None
    prompt = "\n".join(line for line in lines if not line.startswith("#")).strip()
    if PLACE not in prompt:
        raise ConfigError(f"{path}: needs {PLACE} where the caption goes")
    return prompt


def rewrite_by_words(captions: Sequence[str], lexicon: Lexicon) -> list[Rewritten]:
    """Every caption by the lexicon."""
    return [Rewritten(lexicon.rewrite(caption), WORDS) for caption in captions]


class ModelRewriting:
    """A language model behind an engine, asked for each distinct caption once."""

    def __init__(self, engine: Engine, lexicon: Lexicon, prompt: str, cache: Path) -> None:
        """cache: file of JSON lines; what it holds of this model and prompt is taken over."""
        self.engine, self.lexicon, self.prompt = engine, lexicon, prompt
        self.about = json.dumps([engine.describe(), prompt], sort_keys=True)
        self.cache = cache
        self.known: dict[str, Rewritten] = dict(_read_cache(cache)) if cache.exists() else {}

    def rewrite(self, captions: Sequence[str]) -> list[Rewritten]:
        """In the order of the captions."""
        keys = [hashlib.sha256(f"{self.about}\0{caption}".encode()).hexdigest() for caption in captions]
        missing = {key: caption for key, caption in zip(keys, captions, strict=True) if key not in self.known}
        names = list(missing)
        with self.cache.open("a", encoding="utf-8") as file:
            for start in range(0, len(names), self.engine.batch):
                part = names[start : start + self.engine.batch]
                found = self.ask([missing[key] for key in part])
                for key, rewritten in zip(part, found, strict=True):
                    self.known[key] = rewritten
                    file.write(json.dumps([key, *rewritten]) + "\n")
                file.flush()
        return [self.known[key] for key in keys]

    def ask(self, captions: Sequence[str]) -> list[Rewritten]:
        """The model's rewriting where one of its attempts is faithful, else the lexicon's."""
        results = rewrite_by_words(captions, self.lexicon)
        pending = list(range(len(captions)))
        for attempt in range(ATTEMPTS):
            requests = [self.make_request(captions[place], attempt) for place in pending]
            for place, reply in zip(list(pending), self.engine.generate(requests), strict=True):
                text = self.judge(captions[place], reply)
                if text is not None:
                    results[place] = Rewritten(text, MODEL)
                    pending.remove(place)
            if not pending:
                break
        return results

    def make_request(self, caption: str, attempt: int) -> CaptionRequest:
        """One attempt at one caption; no image goes with it."""
        return CaptionRequest(
            image="",
            path=None,
            view="style",
            instruction=self.prompt.replace(PLACE, caption),
            template=None,
            style=None,
            seed=draw_seed(0, caption, "style", attempt),
            attempt=attempt,
        )

    def judge(self, caption: str, reply: CaptionReply) -> str | None:
        """The text, unless it is none, far shorter or longer than the caption, or still names a colour."""
        if reply.text is None or reply.failure is not None:
            return None
        text = mend(reply.text)
        share = len(text.split()) / max(1, len(caption.split()))
        is_faithful = LENGTHS[0] <= share <= LENGTHS[1] and "\n" not in text
        return text if is_faithful and not self.lexicon.names_colour(text) else None


def _read_cache(path: Path) -> Iterator[tuple[str, Rewritten]]:
    """What a former run wrote; a torn last line is cut off."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
    for line in content[:whole].splitlines():
        try:
            key, text, by = json.loads(line)
        except (ValueError, TypeError):
            continue
        yield key, Rewritten(text, by)
