"""One process works through the shards of a plan; it may be stopped and started at will.

Within a shard all captions are asked for, then those that failed once more under another seed and template,
and so on. What is accepted depends on the plan and the replies alone, not on batches, shards or restarts.
"""

import fcntl
import logging
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, NamedTuple

from tpr.captioning.engines import CaptionReply, CaptionRequest, Engine
from tpr.captioning.filters import find_fault, mend
from tpr.captioning.journal import Journal
from tpr.captioning.listing import Entry
from tpr.captioning.plan import PICTURES, PLAN, Plan, View, check_listing, choose_engine, read_plan
from tpr.captioning.shards import (
    Caption,
    Failure,
    Marker,
    hash_shard,
    is_whole,
    journal_path,
    read_markers,
    write_failures,
    write_marker,
    write_parts,
)
from tpr.config.resolved import plain_value
from tpr.errors import ConfigError, DataError
from tpr.report.console import format_duration

logger = logging.getLogger(__name__)

LOCK = "run.lock"
LOCK_TRIES = 3
SECONDS_BETWEEN_LINES = 10.0
LONGEST_KEPT = 500
"""Letters of a refused text that the failures file keeps."""


class Task(NamedTuple):
    """One caption of a shard."""

    number: int
    entry: Entry
    view: View


class Outcome(NamedTuple):
    """What one attempt came to: a text, or a reason."""

    text: str | None
    reason: str
    is_fatal: bool = False


def _take_lock(file: IO[str]) -> bool:
    """Whether the lock could be taken; `status` holds it for a blink, so one refusal is not believed."""
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.1)
    return False


@contextmanager
def hold_lock(plan: Plan) -> Iterator[None]:
    """Keep other runs of this plan out; dies with the process. Raises DataError if one is at work."""
    with (plan.folder / LOCK).open("a+") as file:
        if not _take_lock(file):
            file.seek(0)
            raise DataError(
                f"{plan.folder}: is being worked on by {file.read().strip() or 'another process'}; wait "
                "for it, or stop it and start again"
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename}\n")
        file.flush()
        yield


def is_locked(plan: Plan) -> bool:
    """Whether a run is at work."""
    path = plan.folder / LOCK
    if not path.exists():
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class Guard:
    """Notices a plan that changes under a run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.paths = [plan.folder / PLAN, plan.folder / PICTURES]
        check_listing(plan)
        self.seen = self.look()

    def look(self) -> list[tuple[int, int, int] | None]:
        """Time, size and number of both files."""
        return [_signature(path) for path in self.paths]

    def check(self) -> None:
        """Raise DataError if the plan is no longer the one that was started."""
        now = self.look()
        if now != self.seen:
            if read_plan(self.plan.folder).fingerprint != self.plan.fingerprint:
                raise DataError(
                    f"{self.plan.folder}: the plan changed under the run; make a new plan instead"
                )
            check_listing(self.plan)
            self.seen = now


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


class Worker:
    """Works through a plan; the caller holds the lock."""

    def __init__(self, plan: Plan, engine: Engine, root: Path) -> None:
        """root: where the pictures lie on this machine."""
        self.plan, self.engine, self.root = plan, engine, root
        self.about = engine.describe()
        self.started = self.last_line = time.monotonic()
        self.done = self.failed = self.fresh = 0

    def run(self) -> None:
        """Every shard that is not done yet."""
        guard = Guard(self.plan)
        finished = set()
        for marker in read_markers(self.plan):
            if is_whole(self.plan, marker):
                finished.add(marker.shard)
                # Killed between the marker and here, a run leaves the journal behind.
                journal_path(self.plan, marker.shard).unlink(missing_ok=True)
                self.done += marker.requests
                self.failed += marker.failed
            else:
                logger.warning("shard %05d: its files are not as written, it is done again", marker.shard)
        for shard in range(self.plan.shards):
            if shard not in finished:
                guard.check()
                self.work_shard(shard, guard)

    def work_shard(self, shard: int, guard: Guard) -> None:
        """Ask, filter, ask again, write."""
        start = time.monotonic()
        tasks = self.list_tasks(shard)
        accepted: dict[int, Caption] = {}
        failures: dict[int, Failure] = {}
        retries = 0
        path = journal_path(self.plan, shard)
        with Journal(path, self.plan.fingerprint, shard) as journal:
            pending = tasks
            for attempt in range(self.plan.settings.attempts):
                retries += len(pending) if attempt else 0
                pending = self.work_round(pending, attempt, journal, accepted, failures)
        guard.check()
        captions = [accepted[number] for number in sorted(accepted)]
        failed = [failures[number] for number in sorted(failures)]
        write_failures(self.plan, shard, failed)
        size = write_parts(self.plan, shard, captions, self.about).stat().st_size
        captions_hash, failures_hash = hash_shard(self.plan, shard)
        marker = Marker(
            plan=self.plan.fingerprint,
            shard=shard,
            captions=len(captions),
            failed=len(failed),
            reasons=dict(Counter(failure.reason for failure in failed).most_common()),
            retries=retries,
            seconds=time.monotonic() - start,
            finished=time.time(),
            captions_sha256=captions_hash,
            failures_sha256=failures_hash,
            captions_bytes=size,
            engine=self.about,
        )
        write_marker(self.plan, marker)
        path.unlink()
        self.done += marker.requests
        self.failed += marker.failed
        self.report(self.done, is_due=shard == self.plan.shards - 1)

    def list_tasks(self, shard: int) -> list[Task]:
        """Captions of a shard: all of a picture in a row."""
        pairs = ((entry, view) for entry in self.plan.entries(shard) for view in self.plan.views)
        return [Task(number, entry, view) for number, (entry, view) in enumerate(pairs)]

    def work_round(
        self,
        tasks: list[Task],
        attempt: int,
        journal: Journal,
        accepted: dict[int, Caption],
        failures: dict[int, Failure],
    ) -> list[Task]:
        """One attempt at every task; fills `accepted` and `failures`, returns the tasks to ask for again."""
        again = []
        is_last = attempt == self.plan.settings.attempts - 1
        for start in range(0, len(tasks), self.engine.batch):
            batch = tasks[start : start + self.engine.batch]
            requests = [self.plan.make_request(t.entry.picture, t.view, attempt, self.root) for t in batch]
            for task, request, reply in zip(batch, requests, self.ask(batch, requests, journal), strict=True):
                outcome = self.judge(task, reply, accepted)
                if outcome.text is not None:
                    accepted[task.number] = Caption(request=request, text=outcome.text, entry=task.entry)
                elif is_last or outcome.is_fatal:
                    failures[task.number] = make_failure(request, reply, outcome.reason)
                else:
                    again.append(task)
            self.report(self.done + len(accepted) + len(failures))
        return again

    def ask(
        self, tasks: Sequence[Task], requests: Sequence[CaptionRequest], journal: Journal
    ) -> list[CaptionReply]:
        """Replies to some requests: those that the journal has, the others from the engine."""
        keys = [(task.number, request.attempt) for task, request in zip(tasks, requests, strict=True)]
        missing = [place for place, key in enumerate(keys) if key not in journal.replies]
        if missing:
            replies = self.engine.generate([requests[place] for place in missing])
            if len(replies) != len(missing):
                raise RuntimeError(f"engine gave {len(replies)} replies to {len(missing)} requests")
            self.fresh += len(replies)
            journal.add({keys[place]: reply for place, reply in zip(missing, replies, strict=True)})
        return [journal.replies[key] for key in keys]

    def judge(self, task: Task, reply: CaptionReply, accepted: dict[int, Caption]) -> Outcome:
        """Whether a reply is a caption."""
        if reply.text is None or reply.failure is not None:
            return Outcome(None, reply.failure or "no text", reply.is_fatal)
        text = mend(reply.text.encode("utf-8", "replace").decode())
        views = len(self.plan.views)
        first = task.number - task.number % views
        others = [accepted[number].text for number in range(first, first + views) if number in accepted]
        fault = find_fault(text, self.plan.settings.filters, others)
        return Outcome(text, "") if fault is None else Outcome(None, fault, reply.is_fatal)

    def report(self, done: int, *, is_due: bool = False) -> None:
        """A line every few seconds."""
        now = time.monotonic()
        if not is_due and now - self.last_line < SECONDS_BETWEEN_LINES:
            return
        self.last_line = now
        rate = self.fresh / max(now - self.started, 1e-9)
        left = format_duration((self.plan.requests - done) / rate) if rate else "?"
        logger.info(
            "%s of %s captions  %s requests/s  %s left  %s failed",
            f"{done:,}", f"{self.plan.requests:,}", f"{rate:,.1f}", left, f"{self.failed:,}",
        )  # fmt: skip


def make_failure(request: CaptionRequest, reply: CaptionReply, reason: str) -> Failure:
    """The line of the failures file."""
    return Failure(
        file_path=request.picture,
        view=request.view,
        reason=reason,
        attempts=request.attempt + 1,
        template=request.template,
        seed=request.seed,
        text=None if reply.text is None else reply.text[:LONGEST_KEPT],
    )


def override_engine(plan: Plan, values: dict[str, object]) -> Plan:
    """The plan with engine options of this machine, such as a server's address. The model stays."""
    if "model" in values:
        raise ConfigError(
            "--engine-options model: the plan's model stays; make another plan for another model"
        )
    if not values:
        return plan
    options = {**plain_value(plan.engine.options), **values}
    return replace(plan, engine=choose_engine(plan.engine.name, options))
