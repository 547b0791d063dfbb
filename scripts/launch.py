"""Start a tpr command in as many processes as the machine has GPUs, or in one on a CPU.

    python scripts/launch.py train CONFIG [key=value ...]

NPROC overrides the number of processes; NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT mean what they mean
to torchrun, whose own machinery starts the processes here: unlike the torchrun program it ends with the exit
code of the process that failed and without a report of its own below that process's message.
"""

import logging
import os
import runpy
import sys


def count_processes() -> int:
    """NPROC, else the visible GPUs, at least one."""
    if "NPROC" in os.environ:
        return int(os.environ["NPROC"])
    import torch

    return max(1, torch.cuda.device_count())


def main() -> None:
    """Run `tpr` with this script's arguments."""
    processes, nodes = count_processes(), os.environ.get("NNODES", "1")
    if processes == 1 and nodes == "1":
        sys.argv = ["tpr", *sys.argv[1:]]
        runpy.run_module("tpr", run_name="__main__")
        return
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as run

    # This process only starts others, and what they say is enough; torchrun's loggers set their own levels.
    logging.disable(logging.CRITICAL)
    machine = (
        ["--standalone"]
        if nodes == "1"
        else [
            f"--nnodes={nodes}",
            f"--node-rank={os.environ.get('NODE_RANK', '0')}",
            f"--master-addr={os.environ.get('MASTER_ADDR', '127.0.0.1')}",
            f"--master-port={os.environ.get('MASTER_PORT', '29500')}",
        ]
    )
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    try:
        run([*machine, f"--nproc-per-node={processes}", "-m", "tpr", *sys.argv[1:]])
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        sys.exit(failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode)
    except SignalException as error:
        # The processes had the signal passed on and have ended: the main one wrote its checkpoint.
        sys.exit(128 + error.sigval)


if __name__ == "__main__":
    main()
