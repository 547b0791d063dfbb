"""What a person sees while a run goes on: lines, a progress bar, the log file. The only place that prints.

Only rank zero speaks; other ranks are heard when something is wrong.
"""

import logging
import os
import sys
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Never, Self

from tqdm import tqdm

from tpr import processes
from tpr.errors import TrainingError

logger = logging.getLogger(__name__)

PACKAGE = "tpr"
FILE_ONLY = {"is_file_only": True}
"""`extra` of log records that are for log.txt and not for the screen."""
SECONDS_BETWEEN_LINES = 10.0
"""Least time between two plain progress lines where there is no terminal."""
WIDTH_WHERE_UNKNOWN = 100
"""Columns of the bar on a terminal that does not tell its own."""
WIDTH_OF_BAR = 60
"""Columns of the bar itself, with the share that is done, counts and the time left."""


def say(text: str = "") -> None:
    """Print to standard output, and keep it in the log file; nothing on ranks but the main one."""
    if not processes.is_main_rank():
        return
    # tqdm steps aside for the line if a bar is on the screen.
    with tqdm.external_write_mode(file=sys.stdout):
        print(text, flush=True)
    logger.info("%s", f"\n{text}" if "\n" in text else text, extra=FILE_ONLY)


class ScreenHandler(logging.Handler):
    """Log records as plain lines that leave a progress bar whole."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record to standard output, warnings and worse to standard error."""
        if getattr(record, "is_file_only", False):
            return
        stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        try:
            text = self.format(record)
            with tqdm.external_write_mode(file=stream):
                stream.write(f"{text}\n")
                stream.flush()
        except BrokenPipeError:
            raise
        except Exception:
            self.handleError(record)


class ScreenFormatter(logging.Formatter):
    """The message alone, with the level in front of warnings and errors."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as a line."""
        text = super().format(record)
        return f"{record.levelname.lower()}: {text}" if record.levelno >= logging.WARNING else text


class LogFile(logging.FileHandler):
    """The log of a run, which goes on without it where the disk is full: numbers are in the journal."""

    is_full = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Say once that a line could not be written; other errors are told as ever."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self.is_full:
            self.is_full = True
            logger.warning("%s: the log cannot be written (%s)", self.baseFilename, error.strerror)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        if not self.is_full:
            super().emit(record)

    def close(self) -> None:
        """End the file; what is still buffered is given up where it cannot be written."""
        with suppress(OSError):
            super().close()


def configure_logging(log_file: Path | None = None, *, main: bool | None = None) -> None:
    """Send the package's log to the screen and, on the main rank, appended to `log_file`.

    main: whether this process speaks; absent: rank zero does. Other ranks show errors only. A second call
    replaces the first. Raises TrainingError where the file cannot be written.
    """
    main = processes.is_main_rank() if main is None else main
    package = logging.getLogger(PACKAGE)
    for handler in list(package.handlers):
        package.removeHandler(handler)
        handler.close()
    package.setLevel(logging.INFO)
    package.propagate = False
    screen = ScreenHandler(logging.INFO if main else logging.ERROR)
    screen.setFormatter(ScreenFormatter("%(message)s"))
    package.addHandler(screen)
    if log_file is not None and main:
        try:
            file = LogFile(log_file, encoding="utf-8")
        except OSError as error:
            raise TrainingError(
                f"{log_file}: the log cannot be written ({error.strerror}); free or unlock the folder, "
                "or choose another with runtime.output=FOLDER"
            ) from error
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        package.addHandler(file)
    if not main:
        warnings.simplefilter("ignore")


class ProgressLine:
    """Pairs done, loss, speed and time left: a bar on a terminal, plain lines elsewhere and in the log."""

    def __init__(
        self, total: int, *, done: int = 0, unit: str = "pairs", terminal: bool | None = None
    ) -> None:
        """total: pairs of the whole run, of which `done` were done before.

        terminal: whether standard output is one; absent: asked of it. Silent on ranks but the main one.
        """
        self.total, self.done, self.unit = total, done, unit
        self.is_speaking = processes.is_main_rank()
        self.terminal = sys.stdout.isatty() if terminal is None else terminal
        self.last_line = float("-inf")
        self.bar: tqdm[Never] | None = None
        if self.is_speaking and self.terminal:
            self.bar = tqdm(
                total=total,
                initial=done,
                unit=f" {unit}",
                file=sys.stdout,
                ncols=None if get_width() else WIDTH_WHERE_UNKNOWN,
                dynamic_ncols=get_width() > 0,
                smoothing=0.1,
                bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{remaining} left{postfix}]",
            )

    def advance(self, count: int) -> None:
        """`count` more pairs are done."""
        self.done += count
        if self.bar is not None:
            self.bar.update(count)

    def move_to(self, done: int) -> None:
        """The run continues after `done` pairs, which do not count in its speed."""
        self.done = done
        if self.bar is not None:
            self.bar.initial = self.bar.n = done
            self.bar.refresh()

    def report(
        self, text: str, *, loss: float, pairs_per_second: float, parts: Mapping[str, float] | None = None
    ) -> None:
        """Show the loss, where there is room its parts, and the speed, and keep a line `text` in the log.

        Lines on a screen that is no terminal come at most every few seconds; the log file gets all of them.
        """
        if not self.is_speaking:
            return
        left = max(0, self.total - self.done) / max(pairs_per_second, 1e-9)
        speed = f"{pairs_per_second:,.1f} {self.unit}/s"
        named = " + ".join(f"{name} {value:.3f}" for name, value in (parts or {}).items())
        shown = f" = {named}" if named else ""
        line = f"{text}  loss {loss:.4f}{shown}  {speed}  {format_duration(left)} left"
        if self.bar is not None:
            room = (self.bar.ncols or get_width()) - WIDTH_OF_BAR
            postfix = f"loss {loss:.3f}{shown}, {speed}"
            self.bar.set_postfix_str(postfix if len(postfix) <= room else f"loss {loss:.3f}, {speed}")
        is_due = time.monotonic() - self.last_line >= SECONDS_BETWEEN_LINES
        if self.bar is None and (is_due or self.done >= self.total):
            self.last_line = time.monotonic()
            logger.info("%s", line)
        else:
            logger.info("%s", line, extra=FILE_ONLY)

    def close(self) -> None:
        """Leave the finished bar on the screen."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def get_width() -> int:
    """Columns of the terminal; 0 where it does not tell (a container's, a recorder's): bars vanish there."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return 0


def format_duration(seconds: float) -> str:
    """h:mm:ss or m:ss; days in front where there are any."""
    if seconds >= 1e8:
        return "?"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    text = f"{hour}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
    return f"{days} d {text}" if days else text
