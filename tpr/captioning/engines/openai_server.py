"""Captions from an OpenAI-style server: vLLM, SGLang, llama.cpp, or a hosted model.

The server owns batching: many calls are open at once, each in a thread that mostly waits.
"""

import os
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Annotated, Any

from tpr.captioning.engines.base import CaptionReply, CaptionRequest, Engine
from tpr.captioning.engines.chat import data_url, make_reply, open_image, server_messages, unreadable
from tpr.captioning.engines.server_calls import CallFailed, Patience, ServerCalls, split_address
from tpr.config.ranges import Count, NotNegative, PositiveShare, Range
from tpr.errors import UserError

CALLS_AHEAD = 8
"""Requests per call of `generate` for each open call, so that the end of a batch leaves few threads idle."""


class OpenAIServer(Engine):
    """Chat completions with the image inside the message."""

    @dataclass(frozen=True, kw_only=True)
    class Options(Patience):
        """Options of an OpenAI-style server."""

        model: str
        """Name under which the server serves the model."""
        url: str = "http://127.0.0.1:8000/v1"
        """Address of the server, up to and with its version."""
        key_variable: str = "OPENAI_API_KEY"
        """Environment variable that holds the key; a server of one's own often needs none."""
        concurrency: Annotated[int, Range(1, 1024)] = 32
        """Calls that are open at the same time."""
        temperature: NotNegative = 0.7
        """Sampling temperature; 0 is greedy."""
        top_p: PositiveShare = 0.9
        """Sampling takes the likeliest tokens that together have this share."""
        max_new_tokens: Count = 192
        """Longest answer; a longer one fails as truncated."""
        longest_side: Annotated[int, Range(1, 65535)] = 768
        """Images are shrunk in proportion until no side is longer, in pixels; never cropped or enlarged."""
        jpeg_quality: Annotated[int, Range(1, 100)] = 95
        """Quality of the JPEG that is sent."""

        def __post_init__(self) -> None:
            split_address(self.url)

    def __init__(self, options: Options) -> None:
        self.options = options
        self.batch = options.concurrency * CALLS_AHEAD
        key = read_key(options.key_variable)
        self.calls = ServerCalls(options.url, key=key, key_variable=options.key_variable, patience=options)
        self.calls.check_alive()
        self.pool = ThreadPoolExecutor(options.concurrency, thread_name_prefix="caption")

    def describe(self) -> dict[str, Any]:
        """Model, address and everything that shapes a text; no key."""
        options = self.options
        return {
            "engine": "openai",
            "model": options.model,
            "url": options.url,
            "precision": "the server's",
            "temperature": options.temperature,
            "top_p": options.top_p,
            "max_new_tokens": options.max_new_tokens,
            "longest_side": options.longest_side,
            "jpeg_quality": options.jpeg_quality,
        }

    def generate(self, requests: Sequence[CaptionRequest]) -> list[CaptionReply]:
        """Replies in order, at most `concurrency` calls open; UserError if the server is gone for good."""
        self.calls.resume()
        futures = [self.pool.submit(self._answer, request) for request in requests]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()  # raises what the first failed call raised, without waiting for earlier ones
            return [future.result() for future in futures]
        except BaseException:  # also an interrupt: nothing may go on behind the caller's back
            self.calls.stop()
            for future in futures:
                future.cancel()
            wait(futures)
            raise

    def close(self) -> None:
        """End waiting calls and the threads."""
        self.calls.stop()
        self.pool.shutdown(cancel_futures=True)

    def _answer(self, request: CaptionRequest) -> CaptionReply:
        options, url = self.options, None
        if request.has_image:
            image = open_image(request)
            if image is None:
                return unreadable()
            url = data_url(image, options.longest_side, options.jpeg_quality)
        body: dict[str, Any] = {
            "model": options.model,
            "messages": server_messages(request.instruction, url),
            "seed": request.seed,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "max_tokens": options.max_new_tokens,
        }
        if request.style is not None:
            body["chat_template_kwargs"] = {"style": request.style}
        try:
            return self.calls.post("/chat/completions", body, read_completion)
        except CallFailed as error:
            return CaptionReply(text=None, failure=str(error), is_fatal=error.is_fatal)


def read_key(variable: str) -> str | None:
    """The key in an environment variable; None if it is absent or empty."""
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and (key.isprintable() or not key) and " " not in key):
        raise UserError(f"openai: the environment variable {variable} holds letters that no key has")
    return key or None


def read_completion(tree: Any) -> CaptionReply:
    """The reply in a chat completion; raises ValueError for an answer of another shape."""
    try:
        choice = tree["choices"][0]
        text, reason = choice["message"]["content"], choice.get("finish_reason")
    except (TypeError, KeyError, IndexError, AttributeError):
        raise ValueError("no choice") from None
    if text is not None and not isinstance(text, str):
        raise ValueError("no text")
    return make_reply(text or "", is_cut=reason == "length")
