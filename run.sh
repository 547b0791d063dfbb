#!/bin/sh
# Pre-train, then look at direct transfer.
#
#   sh run.sh                                  the drawn world and a small CLIP, in minutes on a CPU
#   sh run.sh configs/drawn/visible_infrared.yaml   infrared images search for visible ones
#   sh run.sh configs/mllm4text/pretrain_1m.yaml data.root=/data
#   NPROC=8 sh run.sh CONFIG [key=value ...]   eight processes; all visible GPUs are used by default
#
# NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT are passed on to torchrun for several machines.
set -eu
. "$(dirname -- "$0")/scripts/environment.sh"
if [ $# -eq 0 ]; then
    cd "$ROOT"
    set -- configs/drawn/pretrain.yaml
fi
# Recipes of the drawn world find it drawn, in the folder that they read.
case " $* " in
*" data.root="*) ;;
" configs/drawn/visible_infrared"*) "$PYTHON_RUN" -m tpr draw data/drawn --sets sysu_mm01 ;;
" configs/drawn/"*) "$PYTHON_RUN" -m tpr draw data/drawn ;;
esac
exec "$PYTHON_RUN" "$ROOT/scripts/launch.py" train "$@"
