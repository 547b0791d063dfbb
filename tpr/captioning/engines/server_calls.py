"""One call of an OpenAI-style server: deadline, retries with back-off, and errors sorted by what helps.

Only the standard library. The key stands in the header of the call and nowhere else; no redirect is followed,
so it reaches no other host, and whatever a server says is quoted without it.
"""

import email.utils
import http.client
import json
import logging
import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from tpr.config.ranges import Range
from tpr.errors import ConfigError, UserError

logger = logging.getLogger(__name__)
T = TypeVar("T")
Seconds = Annotated[float, Range(0, 10_000_000, "low")]

LONGEST_REPLY = 8 << 20
"""Bytes; a caption is not longer, and memory must not depend on a server."""
LONGEST_PAUSE = 300.0
"""Seconds that a server's Retry-After is followed."""
LONGEST_QUOTE = 160
"""Characters of a server's message in ours."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long one call may take and how often it is repeated."""

    timeout_seconds: Seconds = 120.0
    """Longest duration of one call; a longer one is cut and repeated."""
    retries: Annotated[int, Range(0, 1000)] = 6
    """How often a call is repeated after 429, 5xx, a cut connection, a time-out or broken JSON."""
    first_wait_seconds: Seconds = 1.0
    """Longest pause before the first repetition; it doubles from one to the next."""
    longest_wait_seconds: Seconds = 60.0
    """Bound of that pause; a server's Retry-After may exceed it."""


class CallFailed(Exception):
    """A call that got no usable answer; the words name no image, no address and no key."""

    def __init__(self, reason: str, *, is_fatal: bool = False) -> None:
        super().__init__(reason)
        self.is_fatal = is_fatal


class _TryAgain(Exception):
    """A failure that may pass; at_least: seconds that the server asked for; is_gone: nobody listens there."""

    def __init__(self, reason: str, *, at_least: float = 0.0, is_gone: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.at_least = at_least
        self.is_gone = is_gone


def split_address(url: str) -> SplitResult:
    """The parts of a server's address; ConfigError unless it is a plain http or https one."""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ConfigError("url must look like http://127.0.0.1:8000/v1") from None
    if parts.username or parts.password:
        raise ConfigError("url must not hold a name or a password: put the key into the environment")
    if not is_good or parts.query or parts.fragment or not url.isascii() or not url.isprintable():
        raise ConfigError(f"url must look like http://127.0.0.1:8000/v1, got {url!r}")
    return parts


class ServerCalls:
    """Calls of one server; safe to share between threads."""

    def __init__(self, url: str, *, key: str | None, key_variable: str, patience: Patience) -> None:
        self.url = url.rstrip("/")
        self.parts = split_address(self.url)
        self.patience = patience
        self.key_variable = key_variable
        self._explained: set[int] = set()
        self._key = key
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._links: set[socket.socket] = set()

    def stop(self) -> None:
        """Cut every open call and let the waiting ones give up, until `resume`."""
        self._stop.set()
        with self._lock:
            for link in self._links:
                with suppress(OSError):
                    link.shutdown(socket.SHUT_RDWR)

    def resume(self) -> None:
        """Take calls again."""
        self._stop.clear()

    def check_alive(self) -> None:
        """Raise UserError unless the server answers and takes the key; it need not list its models."""
        try:
            status, _, _ = self._exchange("GET", "/models", None)
        except _TryAgain as error:
            if error.is_gone:
                raise self._gone(error.reason) from None
            return
        if status in (401, 403):
            raise self._refused(status)

    def post(self, path: str, body: dict[str, Any], read: Callable[[Any], T]) -> T:
        """What `read` makes of the decoded answer; it raises ValueError for one that is not as agreed.

        Raises CallFailed where this call failed for good and UserError where every other call would too.
        """
        data = json.dumps(body).encode()
        for attempt in range(self.patience.retries + 1):
            if self._stop.is_set():
                raise CallFailed("stopped")
            try:
                status, retry_after, answer = self._exchange("POST", path, data)
                self._check_status(status, retry_after, answer)
                return _read_answer(answer, read)
            except _TryAgain as error:
                last = error
            if attempt < self.patience.retries:
                self._stop.wait(self._pause(attempt, last.at_least))
        if last.is_gone:
            raise self._gone(last.reason)
        raise CallFailed(last.reason)

    def _pause(self, attempt: int, at_least: float) -> float:
        """Seconds of exponential back-off, with jitter: calls that failed together do not return together."""
        bound = min(self.patience.longest_wait_seconds, self.patience.first_wait_seconds * 2.0**attempt)
        return max(random.uniform(bound / 2, bound), min(at_least, LONGEST_PAUSE))

    def _exchange(self, method: str, path: str, data: bytes | None) -> tuple[int, float, bytes]:
        """Status, seconds of Retry-After and body; what went wrong on the way is a _TryAgain."""
        kind = http.client.HTTPSConnection if self.parts.scheme == "https" else http.client.HTTPConnection
        seconds = self.patience.timeout_seconds
        deadline = time.monotonic() + seconds
        connection = kind(self.parts.hostname or "", self.parts.port, timeout=seconds)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        link: socket.socket | None = None
        try:
            connection.connect()
            link = connection.sock
            with self._lock:
                self._links.add(link)
            connection.request(method, self.parts.path + path, body=data, headers=headers)
            with connection.getresponse() as answer:
                body = _read_body(link, answer, deadline)
            return answer.status, read_retry_after(answer.getheader("Retry-After")), body
        except TimeoutError:
            raise _TryAgain("server timed out") from None
        except (http.client.HTTPException, ConnectionResetError, ConnectionAbortedError, BrokenPipeError):
            raise _TryAgain("connection cut") from None
        except OSError as error:  # refused, no route, unknown name, bad certificate
            reason = self._quote(error.strerror or str(error) or type(error).__name__)
            raise _TryAgain(f"no connection ({reason})", is_gone=True) from None
        finally:
            with self._lock:
                self._links.discard(link)
            connection.close()

    def _check_status(self, status: int, retry_after: float, answer: bytes) -> None:
        if 200 <= status < 300:
            return
        if status == 429 or status >= 500:
            raise _TryAgain(f"server said {status}", at_least=retry_after)
        if status in (401, 403):
            raise self._refused(status)
        words = self._quote(_server_words(answer))
        if status == 404:
            raise UserError(
                f"openai: {self.url} knows no such model or address ({words}); check model and url"
            )
        if status not in self._explained:  # once, not a million times
            self._explained.add(status)
            logger.warning("openai: the server said %d: %s", status, words)
        raise CallFailed(f"server said {status}", is_fatal=True)

    def _refused(self, status: int) -> UserError:
        state = "does not fit" if self._key else "is not set"
        return UserError(
            f"openai: {self.url} asks for another key ({status}): "
            f"the environment variable {self.key_variable} {state}"
        )

    def _gone(self, reason: str) -> UserError:
        return UserError(
            f"openai: {self.url}: {reason}; start the server, for example `vllm serve MODEL`, or set url, "
            "then run again: what is finished stays"
        )

    def _quote(self, words: str) -> str:
        """A server's words on one line, short, without the key."""
        if self._key:
            words = words.replace(self._key, "***")
        line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(words.split()))
        return line if len(line) <= LONGEST_QUOTE else line[:LONGEST_QUOTE] + "..."


def read_retry_after(header: str | None) -> float:
    """Seconds of a Retry-After header, which holds seconds or a date; 0 if it is absent or unreadable."""
    if header is None:
        return 0.0
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _read_answer(answer: bytes, read: Callable[[Any], T]) -> T:
    try:
        return read(json.loads(answer))
    except (ValueError, RecursionError):  # no text, no JSON, or JSON without a choice
        raise _TryAgain("broken JSON") from None


def _read_body(link: socket.socket, answer: http.client.HTTPResponse, deadline: float) -> bytes:
    """The whole body before the deadline, however slowly it trickles."""
    pieces: list[bytes] = []
    length = 0
    while piece := answer.read1(1 << 16):
        pieces.append(piece)
        length += len(piece)
        if length > LONGEST_REPLY:
            raise http.client.HTTPException("a reply without end")
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        link.settimeout(left)
    if answer.length:  # read1 takes an early end of a body for its end
        raise http.client.IncompleteRead(b"", answer.length)
    return b"".join(pieces)


def _server_words(answer: bytes) -> str:
    """The message of an error reply: its JSON field, else its first words."""
    text = answer.decode("utf-8", errors="replace")
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        return text
    error = tree.get("error", tree) if isinstance(tree, dict) else tree
    message = error.get("message", error) if isinstance(error, dict) else error
    return message if isinstance(message, str) else text
