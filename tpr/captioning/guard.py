"""A plan does not change under its run."""

from pathlib import Path

from tpr.captioning.plan import IMAGES, PLAN, CaptionPlan, check_listing, read_plan
from tpr.errors import DataError


class Guard:
    """Notices a plan that changes under a run."""

    def __init__(self, plan: CaptionPlan) -> None:
        self.plan = plan
        self.paths = [plan.folder / PLAN, plan.folder / IMAGES]
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
