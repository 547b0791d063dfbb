"""One shard of a plan: ask, filter, ask again, write. What a process does with it, whoever handed it out.

All captions are asked for, then those that failed once more under another seed and template, and so on.
What is accepted depends on the plan and the replies alone, not on batches, shards or restarts.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from tpr.captioning.colours import remove_colours
from tpr.captioning.engines import CaptionReply, CaptionRequest, Engine
from tpr.captioning.filters import find_fault, mend
from tpr.captioning.guard import Guard
from tpr.captioning.journal import CaptionJournal
from tpr.captioning.listing import ListedImage
from tpr.captioning.packed import PackedImages
from tpr.captioning.plan import CaptionPlan, CaptionView
from tpr.captioning.shards import (
    Caption,
    Failure,
    Marker,
    adopt_staged,
    hash_shard,
    hold_shard,
    journal_path,
    read_failures,
    read_parts,
    staged,
    write_failures,
    write_marker,
    write_parts,
)

LONGEST_KEPT = 500
"""Letters of a refused text that the failures file keeps."""
KEPT_COLUMNS = ("file_path", "view", "caption", "attempt")


class ShardTask(NamedTuple):
    """One caption of a shard."""

    number: int
    entry: ListedImage
    view: CaptionView
    first: int = 0
    """Number of its first attempt: above 0 where it has failed before."""


class Outcome(NamedTuple):
    """What one attempt came to: a text, or a reason."""

    text: str | None
    reason: str
    is_fatal: bool = False


@dataclass
class Answers:
    """What is known of a shard's captions, by number of the task."""

    accepted: dict[int, Caption] = field(default_factory=dict)
    failures: dict[int, Failure] = field(default_factory=dict)
    retries: int = 0
    seconds: float = 0.0
    """Time that was spent before."""


def say_nothing(answered: int, fresh: int) -> None:
    """Nobody listens."""


class ShardWorker:
    """Works on shards of a plan with one engine; nobody else may be at the same shard."""

    def __init__(
        self, plan: CaptionPlan, engine: Engine, root: Path, listen: Callable[[int, int], None] = say_nothing
    ) -> None:
        """root: where the images lie on this machine.

        listen: told after every call how many captions of the shard are answered, and how many replies
        were made for it just now.
        """
        self.plan, self.engine, self.root, self.listen = plan, engine, root, listen
        self.about = engine.describe()
        self.guard = Guard(plan)
        self.packed = PackedImages(plan, root) if plan.is_packed else None

    def work(self, shard: int) -> Marker:
        """Every caption of a shard."""
        return self._fill(self.plan, shard, self._list_tasks(shard), Answers())

    def retry(self, marker: Marker) -> Marker:
        """The failures of a finished shard once more, with attempts that it has not had.

        Files are written aside and take their places together: a killed process leaves the shard as it was.
        """
        shard = marker.shard
        tasks = {(task.entry.image, task.view.name): task for task in self._list_tasks(shard)}
        answers = Answers(retries=marker.retries, seconds=marker.seconds)
        for row in read_parts(self.plan, shard, KEPT_COLUMNS):
            task = tasks[row["file_path"], row["view"]]
            request = self.plan.make_request(task.entry, task.view, row["attempt"], self.root)
            answers.accepted[task.number] = Caption(request=request, text=row["caption"], entry=task.entry)
        again = [
            tasks[row["file_path"], row["view"]]._replace(first=row["attempts"])
            for row in read_failures(self.plan, shard)
        ]
        found = self._fill(staged(self.plan), shard, again, answers)
        adopt_staged(self.plan, shard)
        return found

    def _fill(self, target: CaptionPlan, shard: int, tasks: list[ShardTask], answers: Answers) -> Marker:
        """Ask for some captions and write the shard below the folder of `target`."""
        start = time.monotonic()
        self.guard.check()
        with (
            hold_shard(target, shard),
            CaptionJournal(journal_path(target, shard), self.plan.fingerprint, shard) as journal,
        ):
            pending = tasks
            for turn in range(self.plan.settings.attempts):
                pending = self._work_round(pending, turn, journal, answers)
            self.guard.check()
            seconds = answers.seconds + time.monotonic() - start
            return self._write(target, shard, replace(answers, seconds=seconds))

    def _write(self, target: CaptionPlan, shard: int, answers: Answers) -> Marker:
        captions = [answers.accepted[number] for number in sorted(answers.accepted)]
        failed = [answers.failures[number] for number in sorted(answers.failures)]
        write_failures(target, shard, failed)
        size = write_parts(target, shard, captions, self.about).stat().st_size
        captions_hash, failures_hash = hash_shard(target, shard)
        marker = Marker(
            plan=self.plan.fingerprint,
            shard=shard,
            captions=len(captions),
            failed=len(failed),
            reasons=dict(Counter(failure.reason for failure in failed).most_common()),
            retries=answers.retries,
            seconds=answers.seconds,
            finished=time.time(),
            captions_sha256=captions_hash,
            failures_sha256=failures_hash,
            captions_bytes=size,
            engine=self.about,
        )
        write_marker(target, marker)
        return marker

    def _list_tasks(self, shard: int) -> list[ShardTask]:
        """Captions of a shard: all of an image in a row."""
        pairs = ((entry, view) for entry in self.plan.entries(shard) for view in self.plan.views)
        return [ShardTask(number, entry, view) for number, (entry, view) in enumerate(pairs)]

    def _work_round(
        self, tasks: list[ShardTask], turn: int, journal: CaptionJournal, answers: Answers
    ) -> list[ShardTask]:
        """One attempt at every task; fills `answers`, returns the tasks to ask for again."""
        again = []
        is_last = turn == self.plan.settings.attempts - 1
        for start in range(0, len(tasks), self.engine.batch):
            batch = tasks[start : start + self.engine.batch]
            requests = [self.plan.make_request(t.entry, t.view, t.first + turn, self.root) for t in batch]
            answers.retries += sum(request.attempt > 0 for request in requests)
            replies, fresh = self._ask(batch, requests, journal)
            for task, request, reply in zip(batch, requests, replies, strict=True):
                outcome = self._judge(task, reply, answers.accepted)
                if outcome.text is not None:
                    answers.accepted[task.number] = Caption(
                        request=request, text=outcome.text, entry=task.entry
                    )
                elif is_last or outcome.is_fatal:
                    answers.failures[task.number] = make_failure(request, reply, outcome.reason)
                else:
                    again.append(task)
            self.listen(len(answers.accepted) + len(answers.failures), fresh)
        return again

    def _ask(
        self, tasks: Sequence[ShardTask], requests: Sequence[CaptionRequest], journal: CaptionJournal
    ) -> tuple[list[CaptionReply], int]:
        """Replies to some requests: those that the journal has, the others from the engine; and how many."""
        keys = [(task.number, request.attempt) for task, request in zip(tasks, requests, strict=True)]
        missing = [place for place, key in enumerate(keys) if key not in journal.replies]
        if missing:
            asked = [requests[place] for place in missing]
            if self.packed is not None:
                entries = [tasks[place].entry for place in missing]
                asked = [replace(r, data=self.packed.read(e)) for r, e in zip(asked, entries, strict=True)]
            replies = self.engine.generate(asked)
            if len(replies) != len(missing):
                raise RuntimeError(f"engine gave {len(replies)} replies to {len(missing)} requests")
            journal.add({keys[place]: reply for place, reply in zip(missing, replies, strict=True)})
        return [journal.replies[key] for key in keys], len(missing)

    def _judge(self, task: ShardTask, reply: CaptionReply, accepted: dict[int, Caption]) -> Outcome:
        """Whether a reply is a caption."""
        if reply.text is None or reply.failure is not None:
            return Outcome(None, reply.failure or "no text", reply.is_fatal)
        filters = self.plan.settings.filters
        text = mend(reply.text.encode("utf-8", "replace").decode())
        if filters.colours == "remove":
            text = remove_colours(text)
        views = len(self.plan.views)
        first = task.number - task.number % views
        others = [accepted[number].text for number in range(first, first + views) if number in accepted]
        fault = find_fault(text, filters, others, source=task.entry.text)
        return Outcome(text, "") if fault is None else Outcome(None, fault, reply.is_fatal)


def make_failure(request: CaptionRequest, reply: CaptionReply, reason: str) -> Failure:
    """The line of the failures file."""
    return Failure(
        file_path=request.image,
        view=request.view,
        reason=reason,
        attempts=request.attempt + 1,
        template=request.template,
        seed=request.seed,
        text=None if reply.text is None else reply.text[:LONGEST_KEPT],
    )
