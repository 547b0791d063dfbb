"""Rewriting by a language model: what is believed, what is asked again, what the word lists do instead."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tpr.captioning.engines import CaptionReply, CaptionRequest, Engine
from tpr.captioning.styles.lexicon import read_lexicon
from tpr.captioning.styles.rewriting import ModelRewriting, Rewritten, read_prompt, rewrite_by_words
from tpr.errors import ConfigError

LEXICON = read_lexicon(None)
CAPTION = "A tall man wears a red coat and blue jeans."
FAITHFUL = "A person wears a colored top and a colored bottom."
BY_WORDS = LEXICON.rewrite(CAPTION)


class Model(Engine):
    """Answers by a function of attempt and caption; remembers what it was asked."""

    batch = 3

    def __init__(self, options: Callable[[int, str], str | None]) -> None:
        self.answer = options
        self.asked: list[CaptionRequest] = []

    def describe(self) -> dict[str, Any]:
        return {"model": "fake"}

    def generate(self, requests: Sequence[CaptionRequest]) -> list[CaptionReply]:
        assert len(requests) <= self.batch
        self.asked += requests
        texts = [self.answer(request.attempt, request.instruction) for request in requests]
        return [CaptionReply(text=text, failure=None if text else "empty reply") for text in texts]


def rewrite(cache: Path, model: Model, captions: list[str]) -> list[Rewritten]:
    return ModelRewriting(model, LEXICON, "Rewrite: {caption}", cache).rewrite(captions)


def test_a_faithful_answer_is_taken(tmp_path: Path) -> None:
    model = Model(lambda attempt, words: f' "{FAITHFUL}" ')
    assert rewrite(tmp_path / "cache", model, [CAPTION]) == [Rewritten(FAITHFUL, "model")]
    (request,) = model.asked
    assert request.instruction == f"Rewrite: {CAPTION}" and request.path is None


@pytest.mark.parametrize(
    "bad", [None, "Person.", "A person wears a red coat and bottom.", FAITHFUL * 2, f"{FAITHFUL}\n<b>"]
)
def test_a_bad_answer_is_asked_for_once_more_then_word_lists_rewrite(tmp_path: Path, bad: str | None) -> None:
    model = Model(lambda attempt, words: FAITHFUL if attempt else bad)
    assert rewrite(tmp_path / "one", model, [CAPTION]) == [Rewritten(FAITHFUL, "model")]
    assert len({request.seed for request in model.asked}) == 2
    model = Model(lambda attempt, words: bad)
    assert rewrite(tmp_path / "two", model, [CAPTION]) == [Rewritten(BY_WORDS, "words")]
    assert len(model.asked) == 2


def test_each_caption_is_asked_for_once_also_after_a_kill(tmp_path: Path) -> None:
    captions = [f"{CAPTION} He is number {number}." for number in range(8)] * 2
    cache = tmp_path / "cache"
    model = Model(lambda attempt, words: f"{FAITHFUL} {words[-8:]}")
    whole = rewrite(cache, model, captions)
    assert len(model.asked) == 8 and whole[:8] == whole[8:]
    lines = cache.read_bytes().splitlines(keepends=True)
    assert len(lines) == 8
    cache.write_bytes(b"".join(lines[:3]) + lines[3][:20])
    again = Model(model.answer)
    assert rewrite(cache, again, captions) == whole
    assert len(again.asked) == 5
    assert sorted(cache.read_bytes().splitlines(keepends=True)) == sorted(lines)
    changed = Model(model.answer)
    ModelRewriting(changed, LEXICON, "Another: {caption}", cache).rewrite(captions)
    assert len(changed.asked) == 8


def test_word_lists_rewrite_every_caption() -> None:
    assert rewrite_by_words([CAPTION, CAPTION], LEXICON) == [Rewritten(BY_WORDS, "words")] * 2


def test_the_shipped_prompt_shows_rewritings_that_are_believed(tmp_path: Path) -> None:
    prompt = read_prompt(None)
    pairs = [block.splitlines() for block in prompt.split("\n\n")[1:]]
    assert pairs[-1] == ["Caption: {caption}", "Rewritten:"]
    for before, after in pairs[:-1]:
        caption, rewritten = before.removeprefix("Caption: "), after.removeprefix("Rewritten: ")
        model = Model(lambda attempt, words, answer=rewritten: answer)
        assert rewrite(tmp_path / caption[:9], model, [caption]) == [Rewritten(rewritten, "model")]


def test_a_prompt_without_a_place_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rewrite.txt: cannot be read"):
        read_prompt(tmp_path)
    (tmp_path / "styles").mkdir()
    (tmp_path / "styles" / "rewrite.txt").write_text("# {caption}\nRewrite it.\n")
    with pytest.raises(ConfigError, match="needs {caption} where the caption goes"):
        read_prompt(tmp_path)
