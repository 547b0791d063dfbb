"""What a person sees while a run goes on: lines, a progress bar, the log file. The only place that prints.

Only rank zero speaks; other ranks are heard when something is wrong.
"""

import logging
import os
import sys
import time
import warnings
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
            file = logging.FileHandler(log_file, encoding="utf-8")
        except OSError as error:
            raise TrainingError(
                f"{log_file}: the log cannot be written ({error.strerror}); free or unlock the folder, "
                "or choose another with runtime.output=FOLDER"
            ) from error
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        package.addHandler(file)
    if not main:
        warnings.simplefilter("ignore")


class Progress:
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
                ncols=None if has_width() else WIDTH_WHERE_UNKNOWN,
                dynamic_ncols=has_width(),
                smoothing=0.1,
                bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{remaining} left{postfix}]",
            )

    def advance(self, count: int) -> None:
        """So many more pairs are done."""
        self.done += count
        if self.bar is not None:
            self.bar.update(count)

    def move_to(self, done: int) -> None:
        """The run continues after so many pairs, which do not count in its speed."""
        self.done = done
        if self.bar is not None:
            self.bar.initial = self.bar.n = done
            self.bar.refresh()

    def report(self, text: str, *, loss: float, pairs_per_second: float) -> None:
        """Show the loss and the speed, and keep a line `text` in the log.

        Lines on a screen that is no terminal come at most every few seconds; the log file gets all of them.
        """
        if not self.is_speaking:
            return
        left = max(0, self.total - self.done) / max(pairs_per_second, 1e-9)
        line = f"{text}  loss {loss:.4f}  {pairs_per_second:,.1f} {self.unit}/s  {format_duration(left)} left"
        if self.bar is not None:
            self.bar.set_postfix_str(f"loss {loss:.3f}, {pairs_per_second:,.1f} {self.unit}/s")
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


def has_width() -> bool:
    """False on a terminal that does not tell its width (of a container, of a recorder): bars vanish there."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns > 0
    except (OSError, ValueError):
        return False


def format_duration(seconds: float) -> str:
    """h:mm:ss or m:ss; days in front where there are any."""
    if seconds >= 1e8:
        return "?"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    text = f"{hour}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
    return f"{days} d {text}" if days else text
