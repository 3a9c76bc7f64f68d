#!/bin/bash
# Trains on several nodes of a Slurm cluster, and goes on after the time limit until it is done:
#   sbatch slurm.sh --flagfile=F --workdir=/shared/DIR
# Flags of sbatch before the script's name replace those below, such as --nodes=8.
#SBATCH --job-name=transformer-jax
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append

# Each process ends by itself when another is lost. --kill-on-bad-exit would end the others by TERM,
# and the code of a wrong flag would be lost among theirs.
srun --kill-on-bad-exit=0 transformer-jax train "$@" --coordinator=auto
code=$?

# Slurm itself requeues a job only if a node fails. 143: the run was saved before the time limit.
# Others above 128: a process was killed; that is tried again, but not forever.
is_running() { scontrol show job "$SLURM_JOB_ID" | grep -q JobState=RUNNING; }  # no scancel came
restarts=${SLURM_RESTART_COUNT:-0}
if [ $code = 143 ] || { [ $code -gt 128 ] && [ "$restarts" -lt 20 ]; }; then
  is_running && scontrol requeue "$SLURM_JOB_ID" && sleep 60
fi
exit $code
