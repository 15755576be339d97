#include "nibble/program/accumulator_proof.h"

#include <algorithm>

namespace nibble::program {
namespace {

bool reaches_over_the_border(const Accumulate& a) {
  const Window& w = a.window;
  const int64_t bottom = (a.out_height - 1) * w.stride_height + (w.height - 1) * w.dilation_height - w.pad_top;
  const int64_t right = (a.out_width - 1) * w.stride_width + (w.width - 1) * w.dilation_width - w.pad_left;
  return w.pad_top > 0 || w.pad_left > 0 || bottom >= a.in_height || right >= a.in_width;
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
  std::vector<Interval> results(static_cast<size_t>(a.out_channels));
  a.partial_sums = {};
  for (int64_t o = 0; o < a.out_channels; ++o) {
    const int64_t bias = a.bias.empty() ? 0 : a.bias[static_cast<size_t>(o)];
    Interval total{bias, bias}, partial{std::min<int64_t>(bias, 0), std::max<int64_t>(bias, 0)};
    const int64_t group = o / per_group_out;
    for (int64_t tap = 0; tap < a.window.height * a.window.width; ++tap) {
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
    results[static_cast<size_t>(o)] = total;
    a.partial_sums.low = std::min(a.partial_sums.low, partial.low);
    a.partial_sums.high = std::max(a.partial_sums.high, partial.high);
  }
  constexpr int64_t kExact = int64_t{1} << 24;
  a.is_exact_in_float = a.partial_sums.low >= -kExact && a.partial_sums.high <= kExact;
  return results;
}

}  // namespace nibble::program
