#!/bin/sh
# Fine-tune from a checkpoint and show its table beside direct transfer.
#
#   sh finetune.sh --finetune runs/drawn-pretrain/best.pt
#   sh finetune.sh --finetune CHECKPOINT configs/mllm4text/finetune_cuhk_pedes.yaml data.root=/data
set -eu
. "$(dirname -- "$0")/scripts/environment.sh"
exec "$PYTHON_RUN" "$ROOT/scripts/launch.py" train "$@"
