"""What a model's answer means."""

import logging

import pytest

from tpr.captioning.engines.chat import make_reply, tell_of_thoughts


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ("A man waits.", "A man waits."),
        ("<think>A man?\nOr a woman.</think>\n\nA man waits.", "A man waits."),
        ("<THINKING>so</THINKING> A man waits.", "A man waits."),
        ("<think>one</think><think>two</think>A man waits.", "A man waits."),
        ("so it is a man.</think>\nA man waits.", "A man waits."),
        ("<think>a <think>b</think> c</think>A man waits.", "A man waits."),
        ("I think <b>he</b> waits.", "I think <b>he</b> waits."),
    ],
)
def test_captions_are_kept_without_thoughts(text: str, caption: str) -> None:
    reply = make_reply(text, is_cut=False)
    assert (reply.text, reply.failure) == (caption, None)


@pytest.mark.parametrize(
    ("text", "is_cut", "failure"),
    [
        ("<think>A man, or", True, "a thought without an end"),
        ("<think>A man, or", False, "a thought without an end"),
        ("<think>a</think>A man.<think>b", False, "a thought without an end"),
        ("<think>A man.</think> A man wai", True, "truncated"),
        ("<think>A man.</think>\n", False, "empty reply"),
    ],
)
def test_a_thought_alone_is_a_failure_with_its_reason(text: str, is_cut: bool, failure: str) -> None:
    reply = make_reply(text, is_cut=is_cut)
    assert (reply.text, reply.failure, reply.is_fatal) == (None, failure, False)


def test_a_model_that_thinks_aloud_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    tell_of_thoughts.cache_clear()
    with caplog.at_level(logging.WARNING):
        make_reply("I think so.", is_cut=False)
        assert not caplog.messages
        for _ in range(3):
            make_reply("<think>so</think>Yes.", is_cut=False)
    (line,) = caplog.messages
    assert line.startswith("the model thinks aloud; captions are kept without <think>...</think>")
