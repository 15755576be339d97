#!/usr/bin/env bash
# The most accurate MNIST networks of at most 11, 20, 40 and 80 nJ an inference: a teacher in float, then for each budget a
# search (examples/mnist_budgets.json) that begins with what the teacher tells, and three trainings of the best network that
# it found, and a table of them.
#
#   examples/budgets.sh [--short] [DIRECTORY [NANOJOULES...]]      (default: build/budgets 11 20 40 80)
#   DATA=fashion_mnist examples/budgets.sh build/fashion 57.4      (a tenth of what 8 bits need)
#
# On two cores half an hour to an hour a budget. --short shows every step in some minutes; its accuracies say little. What
# is done already is gone on with, so it can be stopped with Ctrl-C and started again. NIBBLE names the program, DATA what
# is learned (mnist, fashion_mnist), TRIALS how many networks each search tries (default: 60).
set -euo pipefail
cd "$(dirname "$0")/.."
nibble=${NIBBLE:-build/release/bin/nibble}

short=
if [ "${1:-}" = --short ]; then short=1; shift; fi
if [[ ${1:-} == -* ]]; then
  sed -n '2,/^set/p' "$0" | grep '^#' | cut -c3- >&2
  exit 2
fi
out=${1:-build/budgets${short:+-short}}
[ $# -gt 0 ] && shift
budgets=("$@")
[ ${#budgets[@]} -gt 0 ] || budgets=(11 20 40 80)
mkdir -p "$out"

data=${DATA:-mnist} trials=${TRIALS:-60} teacher_epochs=60 final_epochs=60
search=()
if [ -n "$short" ]; then trials=${TRIALS:-2} teacher_epochs=1 final_epochs=2 search=(--epochs 1); fi

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

# number FILE KEY: the first number of that name in a JSON file.
number() { sed -n 's/.*"'"$2"'": *\([-+0-9.eE]*\).*/\1/p' "$1" | head -n 1; }

# search NANOJOULES: starts it, or goes on with it.
search() {
  local run=$out/$1.json resume=()
  sed -e 's/"energy_nj": 11}/"energy_nj": '"$1"'}/' -e 's|"data": "mnist"|"data": "'"$data"'"|' \
    -e 's|"model": "mnist"|"model": "'"$(realpath "$out")"'/teacher/model.keras"|' \
    -e 's/\("guided_start"\|"inherit_weights"\): false/\1: true/' examples/mnist_budgets.json >"$run"
  [ -e "$out/$1/study.db" ] && resume=(--resume)
  "$nibble" autoq "$run" --output "$out/$1" --max-trials "$trials" "${search[@]}" "${resume[@]}"
}

# train_on NANOJOULES SEED: the best network of a search, from there, longer, with the teacher.
train_on() {
  local folder=$out/$1-seed$2
  [ -e "$folder/result.json" ] && return
  "$nibble" train "$out/$1/best/model.keras" --data "$data" --dropout 0 --epochs "$final_epochs" --batch-size 1024 --lr 0.02 \
    --schedule cosine --teacher "$out/teacher" --teacher-weight 0.7 --temperature 3 --augment shift=1 --validation-freq 20 \
    --seed "$2" --output "$folder" >"$folder.log" 2>&1
}

step "A teacher in float"
[ -e "$out/teacher/result.json" ] ||
  "$nibble" train mnist --data "$data" --dropout 0 --epochs "$teacher_epochs" --batch-size 512 --lr 0.01 --schedule cosine \
    --augment shift=2 --validation-freq 10 --seed 1 --threads "$(nproc)" --output "$out/teacher"

for budget in "${budgets[@]}"; do
  step "$budget nJ: the search"
  search "$budget"
  step "$budget nJ: three trainings"
  # As many at a time as there are cores.
  for seed in 1 2 3; do
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
    train_on "$budget" "$seed" &
  done
  wait
  for seed in 1 2 3; do
    [ -e "$out/$budget-seed$seed/result.json" ] || { tail -n 5 "$out/$budget-seed$seed.log" >&2; exit 1; }
  done
done

step "What came out"
printf '%8s  %6s  %10s  %10s  %9s  %9s  %9s  %9s  %9s\n' budget trials dearest best "searched" "seed 1" "seed 2" "seed 3" mean
for budget in "${budgets[@]}"; do
  "$nibble" energy "$out/$budget/best/model.keras" --json >"$out/energy_$budget.json"
  "$nibble" study best "$out/$budget" --json >"$out/best_$budget.json"
  "$nibble" study trials "$out/$budget" --json >"$out/trials_$budget.json"
  accuracies=()
  for seed in 1 2 3; do accuracies+=("$(number "$out/$budget-seed$seed/result.json" val_accuracy)"); done
  # Picojoules of each trial that was trained.
  costs=$(sed -n 's/^ *"cost": *\([0-9.e+]*\).*/\1/p' "$out/trials_$budget.json" | sort -g)
  awk -v budget="$budget" -v count="$(wc -l <<<"$costs")" -v dearest="$(tail -n 1 <<<"$costs")" \
    -v energy="$(number "$out/energy_$budget.json" total_energy_pj)" \
    -v searched="$(number "$out/best_$budget.json" accuracy)" -v values="${accuracies[*]}" 'BEGIN {
      split(values, a, " ")
      printf "%5s nJ  %6d  %7.2f nJ  %7.2f nJ  %7.2f %%  %7.2f %%  %7.2f %%  %7.2f %%  %7.2f %%\n", budget, count,
             dearest / 1000, energy / 1000, 100 * searched, 100 * a[1], 100 * a[2], 100 * a[3],
             100 * (a[1] + a[2] + a[3]) / 3
    }'
done
