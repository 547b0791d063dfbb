"""A plan on many GPUs and machines: Ray Data hands out shards, restarts dead workers and repeats their work.

A worker does with a shard what a run on one machine does, below the same folder, which all machines must see
under the same path. Ray is an extra.
"""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tpr.captioning.engines import ENGINES
from tpr.captioning.plan import CaptionPlan
from tpr.captioning.shard_work import ShardWorker
from tpr.captioning.shards import Marker, adopt_staged, is_whole, marker_path, read_marker
from tpr.captioning.worker import Ticker, find_finished
from tpr.errors import DataError, UserError

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
"""Nothing is sent to Ray's makers, and its processes do not speak between our lines; set them to differ."""
SECONDS_TO_CONNECT = 10.0
OBJECT_STORE_BYTES = 100_000_000
"""Of a cluster that is started here: shards travel as numbers, never images or captions."""


@contextmanager
def started_ray(address: str, workers: int | None) -> Iterator[None]:
    """Context in which Ray runs. address: of a cluster; empty: RAY_ADDRESS, else one of this machine alone.

    Raises UserError without the extra, or where no cluster is at the address.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UserError(f"--ray needs the extra `ray` ({error}); run `pip install 'tpr[ray]'`") from None
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if address or os.environ.get("RAY_ADDRESS"):
        options["address"] = address or None
    else:
        options |= {
            "address": "local",
            "num_cpus": workers,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
    try:
        if options["address"]:
            knock(options["address"])
        ray.init(**options)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"--ray {address}: no cluster is reached ({' '.join(str(error).split())[:200]}); `ray status` "
            "tells of one, --ray without an address starts one here"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def knock(address: str) -> None:
    """Raise OSError unless somebody listens at HOST:PORT; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS_TO_CONNECT).close()


def run_on_ray(plan: CaptionPlan, root: Path, *, workers: int | None, retry_failures: bool) -> None:
    """Every shard that is not done yet, and if asked once more what had failed. The caller holds the lock."""
    import ray

    finished = find_finished(plan)
    ticker = Ticker(plan, finished)
    items = [{"shard": shard, "finished": 0.0} for shard in range(plan.shards) if shard not in finished]
    if retry_failures:
        items += [{"shard": m.shard, "finished": m.finished} for m in finished.values() if m.failed]
    if not items:
        return
    uses_gpu = ENGINES[plan.engine.name].uses_gpu and ray.cluster_resources().get("GPU", 0) > 0
    most = int(ray.cluster_resources().get("GPU" if uses_gpu else "CPU", 1))
    silence_ray()
    shards = ray.data.from_items(items, override_num_blocks=len(items)).map(
        RayWorker,
        fn_constructor_kwargs={"plan": plan, "root": root},
        compute=ray.data.ActorPoolStrategy(size=max(1, min(workers or most, len(items)))),
        num_gpus=1 if uses_gpu else 0,
        num_cpus=1,
    )
    for row in shards.iter_rows():
        if row["problem"]:
            raise DataError(row["problem"])
        ticker.listen(0, row["fresh"])
        former = finished.get(row["shard"])
        ticker.add(find_marker(plan, row["shard"]), former)


def silence_ray() -> None:
    """No bars and no advice of Ray Data between our lines."""
    from ray.data import DataContext

    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False


def find_marker(plan: CaptionPlan, shard: int) -> Marker:
    """The marker of a shard that a worker has just finished."""
    marker = read_marker(marker_path(plan, shard), plan)
    if marker is None or not is_whole(plan, marker):
        raise DataError(
            f"{plan.folder}: a worker finished shard {shard:05d}, and its files are not seen here; all "
            "machines must share the plan's folder under the same path"
        )
    return marker


class RayWorker:
    """What a worker of Ray does with a shard; built once per worker, with an engine of its own."""

    def __init__(self, plan: CaptionPlan, root: Path) -> None:
        self.plan, self.root = plan, root
        self.fresh = 0
        self.worker: ShardWorker | None = None

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Work on one shard; a mistake of the user ends the run in one line, not in Ray's repetitions."""
        self.fresh, problem = 0, ""
        try:
            self.work(int(item["shard"]), float(item["finished"]))
        except UserError as error:
            problem = str(error)
        except OSError as error:
            problem = f"{error.filename or self.plan.folder}: {error.strerror or error}"
        return {"shard": item["shard"], "fresh": self.fresh, "problem": problem}

    def work(self, shard: int, finished: float) -> None:
        """Do what is not done. finished: when the shard was finished whose failures to ask for; 0: never."""
        adopt_staged(self.plan, shard)
        path = marker_path(self.plan, shard)
        marker = read_marker(path, self.plan) if path.exists() else None
        is_done = marker is not None and is_whole(self.plan, marker)
        if is_done and marker is not None and marker.finished != finished:
            return  # a worker that is dead now had come so far
        if self.worker is None:
            engine = ENGINES[self.plan.engine.name](self.plan.engine.options)
            self.worker = ShardWorker(self.plan, engine, self.root, self.listen)
        if is_done and marker is not None:
            self.worker.retry(marker)
        else:
            self.worker.work(shard)

    def listen(self, answered: int, fresh: int) -> None:
        """Count the replies that were made."""
        self.fresh += fresh
