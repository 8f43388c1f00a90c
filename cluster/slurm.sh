#!/bin/bash
# One study on Slurm: Ray over the allocation, the study's driver on its first node.
#
#   sbatch cluster/slurm.sh study/specs/paper.yaml
#
# Submit from the repository, with its .venv installed, both on a file system that all nodes share.
# Before the time limit, or when preempted, the driver is told to save; the job then queues again
# and goes on with what is missing.
#SBATCH --job-name=study
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=a100:8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

SPEC=${1:?usage: sbatch cluster/slurm.sh SPEC}
export STUDY_RUNS=${STUDY_RUNS:-$PWD/runs}
export PATH=$PWD/.venv/bin:$PATH
# Ray listens on every interface, and other users share the network.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(openssl rand -hex 32)
export RAY_AUTH_TOKEN

HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# Two jobs on one node do not meet: ports follow the job's number.
export RAY_ADDRESS=$HEAD:$((20000 + SLURM_JOB_ID % 10000))
RESOURCES=(--num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="$SLURM_GPUS_ON_NODE" --block)

srun --nodes=1 --ntasks=1 --nodelist="$HEAD" --overlap \
  ray start --head --port="${RAY_ADDRESS##*:}" --dashboard-host=127.0.0.1 "${RESOURCES[@]}" &
until ray status >/dev/null 2>&1; do sleep 2; done
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
  srun --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks-per-node=1 --exclude="$HEAD" --overlap \
    ray start --address="$RAY_ADDRESS" "${RESOURCES[@]}" &
fi

python -m study run "$SPEC" &
DRIVER=$!
trap 'kill -TERM $DRIVER; wait $DRIVER || true; scontrol requeue "$SLURM_JOB_ID"; exit 0' TERM
wait $DRIVER
