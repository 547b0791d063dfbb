"""Measure the project against the published recipe, side by side on this machine.

    .venv/bin/python scripts/benchmark.py all --quick            # every pair, small, under a minute each
    .venv/bin/python scripts/benchmark.py metrics loader         # full size
    .venv/bin/python scripts/benchmark.py all --quick --check    # exit code 1 if a check fails
    .venv/bin/python scripts/benchmark.py gpu                    # one GPU, in eight minutes

Side A is the published recipe written anew in `benchmarks/reference`, side B is the project. `--check` looks
at equality and memory only, never at time.
"""

import sys

from benchmarks.runner import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
