#include "nibble/program/turning_points.h"

#include <algorithm>
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
    const auto* slope = std::get_if<Slope>(&stages[i]);
    if (slope != nullptr && program::turns(*slope)) turns.push_back({i, 0.0f});
  }
  if (const auto turn = turn_of(*search.quantizer)) turns.push_back({stages.size(), *turn});
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

}  // namespace

std::optional<float> turn_of(const quant::Quantizer& quantizer) {
  const auto* hswish = dynamic_cast<const quant::QuantizedHswish*>(&quantizer);
  return hswish == nullptr ? std::nullopt : std::optional(hswish->lowest_at());
}

std::vector<int64_t> monotonic_breaks(const ThresholdSearch& search, int64_t channel) {
  const Interval& all = search.intervals[static_cast<size_t>(channel)];
  std::vector<int64_t> breaks = {all.low, all.high};
  for (const Turn& turn : turns_of(search)) {
    const auto value = [&](int64_t x) {
      return search.function.after(turn.stages, static_cast<float>(x) * at(search.scale, channel), channel);
    };
    std::vector<int64_t> more = breaks;
    for (size_t i = 0; i + 1 < breaks.size(); ++i) {
      // Between its ends the value rises or falls; the turn is passed between two neighbouring integers.
      const int64_t low = breaks[i], high = breaks[i + 1];
      const bool rises = value(low) <= value(high);
      const int64_t passed =
          first_where(low, high, [&](int64_t x) { return rises ? value(x) >= turn.x : value(x) <= turn.x; });
      more.insert(more.end(), {std::max(low, passed - 1), std::min(high, passed)});
    }
    std::sort(more.begin(), more.end());
    more.erase(std::unique(more.begin(), more.end()), more.end());
    breaks = std::move(more);
  }
  return breaks;
}

}  // namespace nibble::program
