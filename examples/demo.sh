#!/usr/bin/env bash
# The main job, end to end, on MNIST: train in float, cost, search, train the winner, integer codes, report.
#   examples/demo.sh [DIRECTORY]      (default: build/demo, which is made anew; another one must be empty or new)
set -euo pipefail
cd "$(dirname "$0")/.."
nibble=build/release/bin/nibble
out=${1:-build/demo}
if [ $# -eq 0 ]; then
  rm -rf build/demo
elif [ -e "$out" ] && { [ ! -d "$out" ] || [ -n "$(ls -A -- "$out")" ]; }; then
  echo "examples/demo.sh: '$out' is there already and not an empty directory; name another one." >&2
  exit 2
fi
mkdir -p "$out"

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

step "1. The network of the AutoQKeras tutorial, in float"
"$nibble" train mnist --data mnist --epochs 5 --batch-size 1024 --lr 0.01 --schedule cosine --seed 1 \
  --threads "$(nproc)" --output "$out/float"

step "2. What one inference costs: float, 8-bit, and layer by layer"
"$nibble" energy mnist --reference fp32 | tail -n 2
"$nibble" energy mnist --reference int8

step "3. Search quantizers and widths of every layer (12 short trials, all cores)"
"$nibble" autoq examples/demo_search.json --output "$out/search"

step "4. Train the winner on"
"$nibble" train "$out/search/best/model.keras" --data mnist --epochs 8 --batch-size 1024 --lr 0.005 \
  --schedule cosine --seed 1 --threads "$(nproc)" --output "$out/winner"

step "5. Its weights as integer codes"
"$nibble" finalize "$out/winner/model.keras" --output "$out/final.keras"
"$nibble" inspect "$out/final.keras"
"$nibble" energy "$out/final.keras" --reference none

step "6. The report of the winner's training"
"$nibble" report "$out/winner"

step "Done"
echo "model    $out/final.keras"
echo "reports  (open them in a browser; they need no network)"
echo "  the search               $out/search/report.html"
echo "  the winner, trained on   $out/winner/report.html"
