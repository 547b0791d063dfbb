#!/bin/sh
# Pre-train, then look at direct transfer.
#
#   sh run.sh                                  the drawn world and a small CLIP, in minutes on a CPU
#   sh run.sh configs/mllm4text/pretrain_1m.yaml data.root=/data
#   NPROC=8 sh run.sh CONFIG [key=value ...]   eight processes; all visible GPUs are used by default
#
# NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT are passed on to torchrun for several machines.
set -eu
. "$(dirname -- "$0")/scripts/environment.sh"
if [ $# -eq 0 ]; then
    cd "$ROOT"
    "$PYTHON_RUN" -m tpr draw data/drawn
    set -- configs/drawn/pretrain.yaml
fi
exec "$PYTHON_RUN" "$ROOT/scripts/launch.py" train "$@"
