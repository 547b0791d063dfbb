#!/bin/sh
# Run the tests.
#
#   sh scripts/test.sh                 the quick tests (under three minutes on two cores)
#   sh scripts/test.sh --all           with the slow ones, lint and types: what CI runs
#   sh scripts/test.sh --portable      the quick numeric tests as on a processor without AVX-512 and bf16
#   sh scripts/test.sh --oldest        the quick tests on the oldest supported libraries, in .venv-oldest
#   sh scripts/test.sh tests/data -k sampler      anything else goes to pytest
#   TEST_PROCESSES=0 sh scripts/test.sh           one test after another, in one process
set -eu
EXTRAS=dev,captions,ray
MODE=quick
case ${1:-} in
--all) MODE=all && shift ;;
--portable)
    shift
    # What torch, oneDNN and MKL compute with; processors round differently, and tests must bear it.
    export ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2
    set -- tests/models tests/objectives tests/parity tests/systems tests/evaluation tests/engine "$@"
    ;;
--oldest)
    shift
    VENV=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)/.venv-oldest
    CONSTRAINTS=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/oldest.txt
    # For run.sh and finetune.sh as well, which tests start.
    export VENV CONSTRAINTS
    # Captioning wants newer models than the package does, Ray a newer pyarrow.
    EXTRAS=dev
    set -- --ignore=tests/captioning "$@"
    ;;
esac
. "$(dirname -- "$0")/environment.sh"
cd "$ROOT"
# TEST_PROCESSES files of tests run side by side; in collection order, so that the longest do not come last.
TEST_PROCESSES=${TEST_PROCESSES:-2}
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
set -- -n "$TEST_PROCESSES" --dist loadfile --no-loadscope-reorder "$@"
if [ "$MODE" = all ]; then
    "$PYTHON_RUN" -m ruff check .
    "$PYTHON_RUN" -m ruff format --check .
    "$PYTHON_RUN" -m mypy
    exec "$PYTHON_RUN" -m pytest "$@"
fi
exec "$PYTHON_RUN" -m pytest -m "not slow" "$@"
