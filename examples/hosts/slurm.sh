#!/bin/bash
# A program on the nodes of a SLURM job: the first learns, the others act. Submit it where culmen is installed:
#
#     sbatch --nodes 3 examples/hosts/slurm.sh dqn --environment bsuite/catch/0 --steps 200000
#
#SBATCH --job-name=culmen
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
# SIGTERM comes two minutes before the end: the run saves itself, and the job goes on in its next allocation.
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -u

actors=${ACTORS:-8} # on each node but the first
folder=${CULMEN_RUNS:-$PWD/runs}/slurm-$SLURM_JOB_ID
mkdir -p "$folder"

if [ ! -e "$folder/key" ]; then
    (umask 077 && openssl rand -hex 32 >"$folder/key")
fi

first=yes
{
    echo "key = \"$folder/key\""
    echo 'wait = 900'
    for name in $(scontrol show hostnames "$SLURM_JOB_NODELIST"); do
        echo "[hosts.\"$name\"]"
        echo "address = \"$name\""
        if [ "$first" = yes ]; then
            echo 'nodes = ["learner", "replay", "evaluator"]'
        else
            echo "actors = $actors"
        fi
        first=no
    done
} >"$folder/hosts.toml"

# Each node runs the same command. SLURMD_NODENAME is its name in the list above. The folder is on a disk that
# the nodes share, as homes on clusters are; only the first node writes checkpoints, and each its own logs.
srun --kill-on-bad-exit=0 bash -c 'exec culmen train "$@" --host "$SLURMD_NODENAME"' culmen \
    "$@" --launcher hosts --hosts "$folder/hosts.toml" --trusted-network --workdir "$folder/run"
code=$?

# 143 is the code of a run that SIGTERM has ended after a checkpoint.
if [ $code -eq 143 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
