#!/bin/bash
# Runs one command of a file, the one whose line is the number of the array's task:
#   transformer-jax ablate --table=T --workdir=W --results=R --print_commands > FILE
#   sbatch --array=1-$(wc -l < FILE) slurm_array.sh FILE
#SBATCH --job-name=transformer-jax
#SBATCH --requeue

command=$(sed -n "${SLURM_ARRAY_TASK_ID}p" "$1")
srun sh -c "$command"
