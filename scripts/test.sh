#!/bin/sh
# Run the tests.
#
#   sh scripts/test.sh                 the quick tests (under three minutes on two cores)
#   sh scripts/test.sh --all           with the slow ones, lint and types: what CI runs
#   sh scripts/test.sh --oldest        the quick tests on the oldest supported libraries, in .venv-oldest
#   sh scripts/test.sh tests/data -k sampler      anything else goes to pytest
set -eu
EXTRAS=dev
MODE=quick
case ${1:-} in
--all)
    # Ray asks for a newer pyarrow than the package does, so it is not among the extras of --oldest.
    EXTRAS=dev,ray
    MODE=all
    shift
    ;;
--oldest)
    shift
    VENV=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)/.venv-oldest
    CONSTRAINTS=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/oldest.txt
    # For run.sh and finetune.sh as well, which tests start.
    export VENV CONSTRAINTS
    ;;
esac
. "$(dirname -- "$0")/environment.sh"
cd "$ROOT"
# Two processes share two cores in the distributed tests: more threads than cores would only wait.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}"
if [ "$MODE" = all ]; then
    "$PYTHON_RUN" -m ruff check .
    "$PYTHON_RUN" -m ruff format --check .
    "$PYTHON_RUN" -m mypy
    exec "$PYTHON_RUN" -m pytest "$@"
fi
exec "$PYTHON_RUN" -m pytest -m "not slow" "$@"
