"""Damage small files at random and see that what reads them accepts, refuses in one line, and never worse.

    .venv/bin/python scripts/fuzz.py                                   # every kind, a minute each
    .venv/bin/python scripts/fuzz.py shards caches --seconds 600       # two kinds, ten minutes each
    .venv/bin/python scripts/fuzz.py images --seed 7 --only 1234       # one attempt again, with its traceback

Every attempt is a function of kind, seed and number alone. Exit code 1 if one failed.
"""

import sys

from fuzzing.runner import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
