"""Replies of the shard at work, kept line by line, so that a killed run asks for none of them again.

The first line names plan and shard; a line is [request, attempt, text, failure, is_fatal]. A torn last line
is what kill -9 or a full disk may leave: it is cut off, and that reply is asked for anew.
"""

import json
from pathlib import Path
from types import TracebackType
from typing import Self

from tpr.captioning.engines.base import CaptionReply
from tpr.errors import DataError

Key = tuple[int, int]
"""Number of the request within its shard, and attempt."""


class CaptionJournal:
    """Replies of one shard by request and attempt; appends what is new. The caller holds the shard."""

    def __init__(self, path: Path, plan: str, shard: int) -> None:
        """Raises DataError where the file belongs to another plan."""
        self.path = path
        self.header = {"plan": plan, "shard": shard}
        self.replies: dict[Key, CaptionReply] = {}
        self.file = path.open("ab")
        length = self._read()
        self.file.truncate(length)
        if not length:
            self._write([json.dumps(self.header)])

    def _read(self) -> int:
        """Take over what is whole; returns its length in bytes."""
        length = 0
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                try:
                    content = json.loads(line)
                    if length:
                        number, attempt, text, failure, is_fatal = content
                        reply = CaptionReply(text=text, failure=failure, is_fatal=is_fatal)
                        self.replies[number, attempt] = reply
                except ValueError:
                    break
                if not length and content != self.header:
                    raise DataError(f"{self.path}: belongs to another plan; remove it")
                length += len(line)
        return length

    def add(self, replies: dict[Key, CaptionReply]) -> None:
        """Keep some replies for good."""
        self.replies.update(replies)
        lines = [
            json.dumps([number, attempt, reply.text, reply.failure, reply.is_fatal])
            for (number, attempt), reply in replies.items()
        ]
        self._write(lines)

    def _write(self, lines: list[str]) -> None:
        self.file.write("".join(f"{line}\n" for line in lines).encode())
        self.file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()
