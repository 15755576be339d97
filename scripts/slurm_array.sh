#!/usr/bin/env bash
#SBATCH --job-name=nibble
#SBATCH --array=0-15
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=2G
#SBATCH --time=04:00:00
#SBATCH --signal=B:TERM@90
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=nibble-%A_%a.log
# An array job whose tasks all work on one study:
#
#   export NIBBLE_STUDY='postgresql://ann@db.example/nets?study=mnist_11nj'   # password: ~/.pgpass
#   export NIBBLE_OUTPUT=/shared/mnist_11nj                                   # on a file system that all nodes see
#   nibble autoq run.json --study "$NIBBLE_STUDY" --output "$NIBBLE_OUTPUT"   # makes the study; may be stopped then
#   sbatch scripts/slurm_array.sh                                             # or --array=0-99, --time=... to differ
#
# Tasks may start, end, be preempted and be requeued as Slurm likes: 90 seconds before the time limit a worker puts its
# trial back (--signal; "B:" is this script, without it Slurm tells only what srun started); a trial of a task that was
# killed is free when its lease is over, and goes on from its last finished epoch. A task ends when the study is over, so
# an array that is too large does no harm.
# NIBBLE names the program (default: nibble).
set -eu
: "${NIBBLE_STUDY:?set NIBBLE_STUDY to postgresql://USER@HOST/DATABASE?study=NAME}"
: "${NIBBLE_OUTPUT:?set NIBBLE_OUTPUT to a folder that all nodes see}"

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
# exec: the worker takes this script's place, so that the signals that Slurm sends to it reach the worker.
exec "${NIBBLE:-nibble}" worker --study "$NIBBLE_STUDY" --output "$NIBBLE_OUTPUT" --lease "${NIBBLE_LEASE:-120}"
