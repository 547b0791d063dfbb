"""Processes that do one function's tasks in order, kept from one list of tasks to the next.

Whatever happens to a worker ends the run: its errors arrive as text, a lost worker is noticed by torch, and
workers end with the process that started them.
"""

import atexit
import errno
import multiprocessing.util
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import connection
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from tpr import processes
from tpr.data.images.shared_pixels import SharedPixels, share_pixels
from tpr.data.samples.sender import as_tensor
from tpr.data.samples.views import Arrays
from tpr.data.tables.corpus import IndexArray
from tpr.errors import DataError

LOST_SECONDS = 30.0
"""A process whose sockets have closed ends within moments; this is a last resort."""


@dataclass(frozen=True)
class Task:
    """What a worker does for one step: the samples of this rank."""

    samples: IndexArray
    epoch: int = 0
    global_size: int = 0
    augment: bool = True


@dataclass(frozen=True)
class Work:
    """What a worker returns."""

    entries: Arrays
    skipped: Sequence[str] = ()
    failure: str | None = None
    """A user error by its text: an exception would arrive with the worker's traceback in it."""
    trace: str | None = None
    """Any other error by its traceback: not every exception can be sent to another process."""
    lost: bool = False
    """The worker that wrote the pixels is gone."""
    pixels: dict[str, SharedPixels] = field(default_factory=dict)
    """Entries that are still in memory for another process."""

    def share(self) -> "Work":
        """The same with its pixels in memory for another process."""
        pixels = {
            name: share_pixels(value)
            for name, value in self.entries.items()
            if isinstance(value, Tensor) and value.dtype == torch.uint8
        }
        rest: Arrays = {name: value for name, value in self.entries.items() if name not in pixels}
        return replace(self, entries=rest, pixels=pixels)

    def receive(self) -> "Work":
        """The same with all its entries in this process."""
        try:
            opened: Arrays = {name: pixels.open() for name, pixels in self.pixels.items()}
        except (OSError, EOFError):
            return Work({}, lost=True)
        return replace(self, entries=opened | self.entries, pixels={})

    def pin_memory(self) -> "Work":
        """The same in memory that a GPU can copy from; torch's loader calls it in a thread of its own."""
        received = self.receive()
        pinned: Arrays = {}
        for name, value in received.entries.items():
            tensor = as_tensor(value)
            pinned[name] = tensor.pin_memory() if isinstance(tensor, Tensor) else tensor
        return replace(received, entries=pinned)


class TaskData(Dataset[Work]):
    """A function of a task as a dataset, so that torch's loader runs it in its workers."""

    def __init__(self, function: Callable[[Task], Work]) -> None:
        self.function = function

    def __getitem__(self, task: Task) -> Work:
        if get_worker_info() is None:
            return self._try(task)
        try:
            return self._try(task).share()
        except MemoryError:
            return Work({}, failure=describe_no_room("not enough memory"))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.ENOMEM, errno.EDQUOT, errno.EMFILE, errno.ENFILE):
                return Work({}, trace=traceback.format_exc())
            return Work({}, failure=describe_no_room(error.strerror or str(error)))
        except Exception:
            return Work({}, trace=traceback.format_exc())

    def _try(self, task: Task) -> Work:
        try:
            return self.function(task)
        except DataError as error:
            return Work({}, failure=str(error))


def describe_no_room(reason: str) -> str:
    """What is said where workers or their batches find no room."""
    return (
        f"the loader workers have no room ({reason}); lower runtime.workers (0 starts none) or data.batch, "
        "or give a container more memory (docker run --shm-size=1g --memory=...)"
    )


class Workers:
    """Worker processes that are kept from one list of tasks to the next; without workers, this process."""

    def __init__(
        self, function: Callable[[Task], Work], workers: int, device: torch.device, *, start: str = "auto"
    ) -> None:
        """start: how processes start, as `runtime.start` says it."""
        self._function = function
        self._count = workers
        self._device = device
        self._start = start
        self._tasks: list[Task] = []
        self._loader: DataLoader[Work] | None = None
        self._stop: weakref.finalize[Any, Any] | None = None

    def run(self, tasks: list[Task]) -> Iterator[Work]:
        """The tasks' results in order. Any error of a worker stops them all.

        Raises DataError where a task met a user error or there is no room for its result, RuntimeError with
        the worker's traceback for any other error.
        """
        self._tasks[:] = tasks
        results = self._iterate()
        try:
            for work in results:
                yield self._check(work.receive(), results)
        except GeneratorExit:
            raise  # whoever asked for the results has enough of them
        except RuntimeError as error:
            end = find_end(results) if processes.is_lost_worker(error) else None
            self.close()
            if end is None:
                raise
            raise DataError(processes.describe_lost_worker(end)) from None
        except BaseException:
            self.close()
            raise
        finally:
            del results

    def close(self) -> None:
        """Stop the workers; a later run starts new ones."""
        self._loader = None
        if self._stop is not None:
            self._stop()
            atexit.unregister(self._stop)
            self._stop = None

    def _check(self, work: Work, results: Any) -> Work:
        if work.lost:
            raise DataError(processes.describe_lost_worker(find_end(results)))
        if work.failure is not None:
            raise DataError(work.failure)
        if work.trace is not None:
            raise RuntimeError(f"an error in a loader worker\n\n{work.trace}")
        return work

    def _iterate(self) -> Iterator[Work]:
        if self._loader is not None:
            return iter(self._loader)
        if not self._count:
            return iter(self._make_loader())
        # Workers share one folder for their sockets, which this process removes even where they are killed.
        multiprocessing.util.get_temp_dir()
        try:
            # A full /dev/shm has no room for a lock; torch's iterator, half made, would complain of its end.
            multiprocessing.get_context(processes.choose_start_method(self._start)).Lock()
            with _ignored_warnings(), processes.hold_signals():
                self._loader = self._make_loader()
                results = iter(self._loader)
        except OSError as error:
            self._loader = None
            raise DataError(describe_no_room(error.strerror or str(error))) from None
        self._stop = weakref.finalize(self, stop_workers, results)
        # Before multiprocessing's own end, which asks workers by a signal and waits for ever.
        atexit.register(self._stop)
        return results

    def _make_loader(self) -> DataLoader[Work]:
        method = processes.choose_start_method(self._start) if self._count else None
        if method == "forkserver":
            multiprocessing.get_context(method).set_forkserver_preload([__name__])
        return DataLoader(
            TaskData(self._function),
            batch_size=None,
            sampler=cast(Any, self._tasks),
            num_workers=self._count,
            collate_fn=cast(Any, return_unchanged),
            # Workers never touch the GPU; forked ones share the mapped columns and tables, others map them.
            multiprocessing_context=method,
            pin_memory=self._device.type == "cuda",
            persistent_workers=self._count > 0,
            worker_init_fn=prepare_worker if self._count else None,
            # Its own generator: the loader's draw would move torch's global one, and with it a resumed run.
            generator=torch.Generator(),
        )


def stop_workers(results: Any) -> None:
    """End the workers behind torch's iterator now, whoever still refers to it (a traceback does)."""
    results._shutdown_workers()
    for worker in results._workers:
        worker.kill()  # one that did not end by itself: it hangs in the file system, or was stopped


def find_end(results: Any) -> str:
    """How the first of the workers behind torch's iterator ended that is gone."""
    ended = connection.wait([worker.sentinel for worker in results._workers], timeout=LOST_SECONDS)
    for worker in (worker for worker in results._workers if worker.sentinel in ended):
        # Its files are closed a moment before the system knows its exit code.
        worker.join(LOST_SECONDS)
        if worker.exitcode:
            return processes.describe_exit(worker.exitcode)
    return "its sockets are closed"


def prepare_worker(number: int) -> None:
    """Leave the run's signals to the main process, which still waits for its batch; end with it."""
    processes.prepare_child()


def return_unchanged(work: Work) -> Work:
    """Collation of what is a whole batch already."""
    return work


@contextmanager
def _ignored_warnings() -> Iterator[None]:
    """Silences two warnings about workers: more of them than cores, and forking where there are threads."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
        yield
