#include "nibble/program/turning_points.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "nibble/quant/quantized_hswish.h"

namespace nibble::program {
namespace {

// What `stages` stages make of the accumulator is at its turn at `x`.
struct Turn {
  size_t stages = 0;
  float x = 0.0f;
};

std::vector<Turn> turns_of(const ThresholdSearch& search) {
  std::vector<Turn> turns;
  const std::vector<Stage>& stages = search.function.stages();
  for (size_t i = 0; i < stages.size(); ++i) {
    const auto* curve = std::get_if<Curve>(&stages[i]);
    if (curve != nullptr && curve->curve->lowest_at) turns.push_back({i, *curve->curve->lowest_at});
  }
  if (const auto* hswish = dynamic_cast<const quant::QuantizedHswish*>(search.quantizer.get())) {
    // x (x + shift) is lowest half way, unless its factor is at its bound before.
    const float shift = hswish->params().relu_shift.real(), bound = hswish->params().relu_upper_bound.real();
    turns.push_back({stages.size(), std::min(-0.5f * shift, bound - shift)});
  }
  return turns;
}

// The first integer of [low, high] for which a predicate that becomes true and stays so holds; high + 1: none.
int64_t first_where(int64_t low, int64_t high, const std::function<bool(int64_t)>& holds) {
  ++high;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (holds(middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

// (a parabola's bottom is flat to one part in 2^24 over about one in 2^12 of its distance from 0)
constexpr float kFlatPart = 0x1p-10f;
constexpr int64_t kMostFlat = 1 << 14;  // integers; an accumulator of more in there gets fewer

// The integers of a piece, on which `value` rises or falls, whose values lie around `turn`, one more on either side.
Interval around(float turn, const Interval& piece, const std::function<float(int64_t)>& value) {
  const bool rises = value(piece.low) <= value(piece.high);
  Interval flat;
  for (float room = std::abs(turn) * kFlatPart;; room *= 0.5f) {
    const float low = turn - room, high = turn + room;
    flat.low =
        first_where(piece.low, piece.high, [&](int64_t x) { return rises ? value(x) >= low : value(x) <= high; });
    flat.high = first_where(piece.low, piece.high, [&](int64_t x) { return rises ? value(x) > high : value(x) < low; });
    if (flat.high - flat.low <= kMostFlat || room == 0.0f) break;
  }
  return {std::max(piece.low, flat.low - 1), std::min({piece.high, flat.high, flat.low + kMostFlat})};
}

}  // namespace

std::vector<int64_t> monotonic_breaks(const ThresholdSearch& search, int64_t channel) {
  const Interval& all = search.intervals[static_cast<size_t>(channel)];
  std::vector<int64_t> breaks = {all.low, all.high};
  for (const Turn& turn : turns_of(search)) {
    const auto value = [&](int64_t x) {
      return search.function.after(turn.stages, static_cast<float>(x) * at(search.scale, channel), channel);
    };
    std::vector<int64_t> more = breaks;
    for (size_t i = 0; i + 1 < breaks.size(); ++i) {
      const Interval flat = around(turn.x, {breaks[i], breaks[i + 1]}, value);
      for (int64_t x = flat.low; x <= flat.high; ++x) more.push_back(x);
    }
    std::sort(more.begin(), more.end());
    more.erase(std::unique(more.begin(), more.end()), more.end());
    breaks = std::move(more);
  }
  return breaks;
}

}  // namespace nibble::program
