# Sourced by the scripts: leaves in $PYTHON_RUN a Python in which `tpr` imports.
#
# An active environment that has tpr is used as it is. Else `.venv` is made beside this checkout with
# $PYTHON (default python3) and tpr is installed into it; the marker file tells a finished install from an
# interrupted one, which starts over. EXTRAS names extras, such as EXTRAS=dev.

ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
case $ROOT in */scripts) ROOT=${ROOT%/scripts} ;; esac
EXTRAS=${EXTRAS:-}
VENV=${VENV:-$ROOT/.venv}

has_tpr() {
    "$1" - "$ROOT" <<'PYTHON' 2>/dev/null
import importlib.util, pathlib, sys
spec = importlib.util.find_spec("tpr")
found = spec is not None and spec.origin and pathlib.Path(spec.origin).resolve().parents[1]
sys.exit(found != pathlib.Path(sys.argv[1]).resolve())
PYTHON
}

# Threads that wait for each other sleep: spinning ones starve each other as soon as the machine has
# something else to do (measured on two busy cores: eight times slower).
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"

PYTHON_RUN=$VENV/bin/python
MARKER=$VENV/.tpr-installed-${EXTRAS:-base}
if [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && [ -z "$EXTRAS" ] && (cd / && has_tpr python); then
    PYTHON_RUN=python
elif [ ! -f "$MARKER" ] || [ "$ROOT/pyproject.toml" -nt "$MARKER" ]; then
    PYTHON=${PYTHON:-python3}
    if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "tpr: '$PYTHON' is not Python 3.11 or newer; name one: PYTHON=/path/to/python3.11 sh run.sh" >&2
        exit 2
    fi
    echo "tpr: installing into $VENV (once; torch alone is several gigabytes)" >&2
    if [ ! -f "$VENV/.tpr-installed-base" ]; then
        rm -rf "$VENV"
        "$PYTHON" -m venv "$VENV" || exit 2
    fi
    "$PYTHON_RUN" -m pip install --quiet --disable-pip-version-check ${CONSTRAINTS:+-c "$CONSTRAINTS"} \
        -e "$ROOT${EXTRAS:+[$EXTRAS]}" || exit 2
    # Extras come on top of the package itself.
    : > "$VENV/.tpr-installed-base"
    : > "$MARKER"
fi
