"""What came of one attempt, and how an attempt is judged."""

import traceback
from abc import ABC, abstractmethod
from enum import Enum
from pathlib import Path
from random import Random
from typing import ClassVar, NamedTuple

from tpr.errors import UserError

LONGEST_LINE = 2000
"""Letters of a message; a longer one buries what it says."""


class Verdict(Enum):
    """The columns of the table."""

    SAME = "accepted, equal"
    OTHER = "accepted, other"
    REFUSED = "one line"
    SILENT = "silently other"
    TRACEBACK = "traceback"
    CRASH = "crash"
    HANG = "hang"

    @property
    def is_failure(self) -> bool:
        """True for what must never come."""
        return self in (Verdict.SILENT, Verdict.TRACEBACK, Verdict.CRASH, Verdict.HANG)


class Attempt(NamedTuple):
    """One attempt's number, verdict, and for failures what is to be known of it."""

    number: int
    verdict: Verdict
    detail: str = ""


class Kind(ABC):
    """One kind of input: makes small originals once, and tries damaged copies of them."""

    longest_attempt: ClassVar[float] = 60.0
    """Seconds after which an attempt hangs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tried = ""
        """Name of the file that the last attempt damaged."""

    @abstractmethod
    def attempt(self, random: Random) -> Verdict:
        """Damage a copy and read it. Raises UserError where it is refused."""


def judge(kind: Kind, name: str, seed: int, number: int) -> Attempt:
    """One attempt; it depends on kind, seed and number alone."""
    try:
        verdict = kind.attempt(Random(f"{name} {seed} {number}"))
        return Attempt(number, verdict, kind.tried)
    except (KeyboardInterrupt, SystemExit):
        raise
    except UserError as error:
        message = " ".join(str(error).split())
        if message and len(message) < LONGEST_LINE:
            return Attempt(number, Verdict.REFUSED, message)
        return Attempt(number, Verdict.TRACEBACK, f"a message of {len(message)} letters")
    except BaseException:  # a library in Rust panics beside Exception
        return Attempt(number, Verdict.TRACEBACK, f"{kind.tried}\n{traceback.format_exc()}")
