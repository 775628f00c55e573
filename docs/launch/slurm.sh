#!/bin/bash
# Train by one process per GPU: sbatch slurm.sh [options of experiments.train_cnn]
# A run that loses a process, or is preempted, is queued again and goes on from its last checkpoint.
#SBATCH --job-name=train_cnn
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gres=gpu:8
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@180
set -uo pipefail

# all nodes must see this folder
run="${RUN:-$SLURM_SUBMIT_DIR/runs/$SLURM_JOB_ID}"
if [ -f "$run/config.json" ]; then
  options=(--resume "$run")
else
  options=(--out "$run" "$@")
fi

# "auto" reads the variables of Slurm; JAX gives each process the GPU of its number within the node
srun --kill-on-bad-exit=1 python -m experiments.train_cnn --coordinator auto --heartbeat 60 "${options[@]}"
code=$?

# 75: a process was lost; 128 and more: a signal. 1 and 2 are a divergence and a mistake, which would come again
if [ "$code" -ge 75 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
