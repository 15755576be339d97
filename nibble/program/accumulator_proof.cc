#include "nibble/program/accumulator_proof.h"

#include <algorithm>
#include <map>
#include <utility>

namespace nibble::program {
namespace {

bool reaches_over_the_border(const Accumulate& a) {
  const Window& w = a.window;
  const int64_t bottom = (a.out_height - 1) * w.stride_height + (w.height - 1) * w.dilation_height - w.pad_top;
  const int64_t right = (a.out_width - 1) * w.stride_width + (w.width - 1) * w.dilation_width - w.pad_left;
  const int64_t last_row = (a.in_height - 1) * a.spread_height, last_column = (a.in_width - 1) * a.spread_width;
  return w.pad_top > 0 || w.pad_left > 0 || bottom > last_row || right > last_column;
}

// Taps that meet pixels in one and the same sum. Between spread pixels stand zeros, so that a sum has only those taps
// whose places differ by multiples of the spread; without a spread all taps are one group.
std::vector<std::vector<int64_t>> taps_together(const Accumulate& a) {
  const Window& w = a.window;
  std::map<std::pair<int64_t, int64_t>, std::vector<int64_t>> groups;
  for (int64_t ky = 0; ky < w.height; ++ky) {
    for (int64_t kx = 0; kx < w.width; ++kx) {
      const std::pair place{ky * w.dilation_height % a.spread_height, kx * w.dilation_width % a.spread_width};
      groups[place].push_back(ky * w.width + kx);
    }
  }
  std::vector<std::vector<int64_t>> result;
  for (auto& [place, taps] : groups) result.push_back(std::move(taps));
  // Some sums meet zeros alone.
  if (static_cast<int64_t>(result.size()) < a.spread_height * a.spread_width) result.emplace_back();
  return result;
}

// Saturates at 64 bits, so that weights of a hostile file cannot wrap around into a narrow interval.
int64_t plus(int64_t a, int64_t b) {
  int64_t sum = 0;
  if (!__builtin_add_overflow(a, b, &sum)) return sum;
  return a < 0 ? INT64_MIN : INT64_MAX;
}

}  // namespace

std::vector<Interval> prove_accumulator(Accumulate& a, const std::vector<Interval>& inputs) {
  const int64_t per_group_in = a.in_channels / a.groups, per_group_out = a.out_channels / a.groups;
  const bool pads = reaches_over_the_border(a);
  const std::vector<std::vector<int64_t>> sums = taps_together(a);
  std::vector<Interval> results(static_cast<size_t>(a.out_channels));
  a.partial_sums = {};
  for (int64_t o = 0; o < a.out_channels; ++o) {
    const int64_t bias = a.bias.empty() ? 0 : a.bias[static_cast<size_t>(o)];
    const int64_t group = o / per_group_out;
    Interval all{INT64_MAX, INT64_MIN};
    for (const std::vector<int64_t>& taps : sums) {
      Interval total{bias, bias}, partial{std::min<int64_t>(bias, 0), std::max<int64_t>(bias, 0)};
      for (const int64_t tap : taps) {
        for (int64_t i = 0; i < per_group_in; ++i) {
          const int64_t w = a.weights[static_cast<size_t>((tap * per_group_in + i) * a.out_channels + o)];
          const Interval& x = at(inputs, group * per_group_in + i);
          Interval term{std::min(w * x.low, w * x.high), std::max(w * x.low, w * x.high)};
          if (pads) term = {std::min<int64_t>(term.low, 0), std::max<int64_t>(term.high, 0)};
          total = {plus(total.low, term.low), plus(total.high, term.high)};
          partial = {plus(partial.low, std::min<int64_t>(term.low, 0)),
                     plus(partial.high, std::max<int64_t>(term.high, 0))};
        }
      }
      all = {std::min(all.low, total.low), std::max(all.high, total.high)};
      a.partial_sums.low = std::min(a.partial_sums.low, partial.low);
      a.partial_sums.high = std::max(a.partial_sums.high, partial.high);
    }
    results[static_cast<size_t>(o)] = all;
  }
  constexpr int64_t kExact = int64_t{1} << 24;
  a.is_exact_in_float = a.partial_sums.low >= -kExact && a.partial_sums.high <= kExact;
  return results;
}

}  // namespace nibble::program
