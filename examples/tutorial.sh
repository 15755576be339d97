#!/usr/bin/env bash
# The AutoQKeras tutorial from top to bottom, in nibble (docs/tutorial.md tells it): float training, energy, three searches,
# final trainings, and a table beside the tutorial's own figures.
#
#   examples/tutorial.sh [--short] [DIRECTORY]      (default: build/tutorial)
#
# In full it is 126 trials of 20 epochs and three trainings of 200: two hours on two cores. --short shows every step in
# some minutes: one epoch a trial, 2 trials, two of the six blocks, 2 epochs at the end; its accuracies say little.
# What is done already is gone on with, so it can be stopped with Ctrl-C and started again. NIBBLE names the program.
set -euo pipefail
cd "$(dirname "$0")/.."
nibble=${NIBBLE:-build/release/bin/nibble}

short=
if [ "${1:-}" = --short ]; then short=1; shift; fi
if [ $# -gt 1 ] || [[ ${1:-} == -* ]]; then
  sed -n '2,/^set/p' "$0" | grep '^#' | cut -c3- >&2
  exit 2
fi
out=${1:-build/tutorial${short:+-short}}
mkdir -p "$out"

if [ -n "$short" ]; then
  float=(--epochs 2 --batch-size 1024)
  search=(--epochs 1 --max-trials 2)
  final=(--epochs 2 --batch-size 1024)
else
  float=(--epochs 10 --batch-size 2048)
  search=()
  final=(--epochs 200 --batch-size 4096)
fi

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

# number FILE KEY: the first number of that name in a JSON file.
number() { sed -n 's/.*"'"$2"'": *\([-+0-9.eE]*\).*/\1/p' "$1" | head -n 1; }

# search NAME RUN.json: starts it, or goes on with it.
search() {
  local resume=()
  [ -e "$out/$1/study.db" ] || [ -e "$out/$1/run_config.json" ] && resume=(--resume)
  "$nibble" autoq "$2" --output "$out/$1" "${search[@]}" "${resume[@]}"
}

# train_on NAME: the best network of a search, trained longer.
train_on() {
  [ -e "$out/$1-final/result.json" ] && return
  "$nibble" train "$out/$1/best/model.keras" --data mnist --lr 0.02 --seed 1 --threads "$(nproc)" "${final[@]}" \
    --output "$out/$1-final"
}

step "1. The network in float"
[ -e "$out/float/result.json" ] ||
  "$nibble" train mnist --data mnist --lr 0.02 --seed 1 --threads "$(nproc)" "${float[@]}" --output "$out/float"

step "2. The energy of one inference, layer by layer"
"$nibble" energy mnist --reference fp32
for kind in "fp32" "int8" "int8 --compat qkeras-2020"; do
  # shellcheck disable=SC2086
  "$nibble" energy mnist --reference $kind --json >"$out/energy_${kind// /_}.json"
done

step "3. A search over the whole network"
search plain examples/autoqkeras_mnist.json
train_on plain

step "4. A search in which groups of layers share their choice"
search grouped examples/autoqkeras_mnist_grouped.json
train_on grouped

step "5. A search by blocks, the costliest first"
blocks=examples/autoqkeras_mnist_blocks.json
if [ -n "$short" ]; then
  blocks=$out/two_blocks.json
  sed 's/"blocks": \[.*\],/"blocks": ["^.*_1$", "^dense"],/' examples/autoqkeras_mnist_blocks.json >"$blocks"
fi
"$nibble" autoq "$blocks" --debug "${search[@]}"
search blocks "$blocks"
train_on blocks

step "6. What came out"
int8=$(number "$out/energy_int8.json" total_energy_pj)
row() { # NAME PICOJOULES BELOW ACCURACY CLAIM
  printf '%-28s %11s nJ  %8s  %9s   %s\n' "$1" "$(awk "BEGIN { printf \"%.1f\", $2 / 1000 }")" "$3" \
    "$([ -n "$4" ] && awk "BEGIN { printf \"%.2f %%\", 100 * $4 }")" "$5"
}
printf '%-28s %14s  %8s  %9s   %s\n' "" "energy" "below" "accuracy" "the tutorial says"
row "float" "$(number "$out/energy_fp32.json" total_energy_pj)" "" "$(number "$out/float/result.json" val_accuracy)" \
  "3.3 uJ, 99 %"
row "8 bits" "$int8" "" "" ""
row "8 bits, counted as in 2020" "$(number "$out/energy_int8_--compat_qkeras-2020.json" total_energy_pj)" "" "" "204 nJ"
for name in plain grouped blocks; do
  "$nibble" energy "$out/$name-final/model.keras" --json >"$out/energy_$name.json"
  energy=$(number "$out/energy_$name.json" total_energy_pj)
  claim=""
  [ $name = plain ] && claim="11 nJ, > 90 %"
  row "$name, trained on" "$energy" "$(awk "BEGIN { printf \"%.1f %%\", 100 * (1 - $energy / $int8) }")" \
    "$(number "$out/$name-final/result.json" val_accuracy)" "$claim"
done
echo
echo "'below' is against the 8 bits of 574 nJ, which is counted as the searches are. Reports: $out/{plain,grouped}/report.html"
[ -z "$short" ] || echo "A short run: too few trials and epochs for its accuracies to mean anything."
