// nibble/quant/affine/least_error.h
// The range of least squared error: both ends of the widest one times k, the k in 1.00, 0.99 .. 0.20 with the least
// sum of (x - Q(x))^2.
//
// With few bits the codes between the ends matter more than the ends: a range that is cut clips some values and
// rounds all others finer. Source: spec/ptq-qat-experiments.md, 5.8.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "nibble/quant/affine/channel_layout.h"
#include "nibble/quant/affine/fake_quant.h"

namespace nibble::affine {

// What is made of the values of a tensor.
enum class RangeRule {
  kExtremes,  // the smallest and the largest
  kMse,       // the range of least squared error
};

// "extremes", "mse".
std::string_view name(RangeRule rule);

// The rule that helps at a width: least squared error below 6 bits, where clipping pays.
constexpr RangeRule usual_range_rule(int bit_width) { return bit_width < 6 ? RangeRule::kMse : RangeRule::kExtremes; }

// The sum of (x - fake_quant(x))^2, the quotient taken as in StepRule::kDivide.
//   x  finite
double squared_error(std::span<const float> x, const NudgedRange& range);

enum class ErrorSearch {
  kEvery,  // 81 factors
  // 17 of them: every eighth, then around the best. For trackers, which search in each step of a training; the error
  // falls and rises once, but for ripples.
  kCoarseToFine,
};

// 100 k. Of factors with the same error, the largest.
//   error  of a percentage
template <class Error>
int least_error_percent(Error error, ErrorSearch search) {
  constexpr int kLowest = 20;
  int best = 100;
  double least = error(best);
  const auto consider = [&](int percent) {
    if (percent < kLowest || percent > 100) return;
    const double candidate = error(percent);
    if (candidate < least) least = candidate, best = percent;
  };
  const int step = search == ErrorSearch::kEvery ? 1 : 8;
  for (int percent = 100 - step; percent >= kLowest; percent -= step) consider(percent);
  for (int finer = step / 2; finer > 0; finer /= 2) {
    const int around = best;
    consider(around + finer);
    consider(around - finer);
  }
  return best;
}

//   x       finite
//   widest  holds 0; it is the result where nothing is better, or x is empty
Range least_error_range(std::span<const float> x, Range widest, CodeFormat format, ErrorSearch search);

// Of each channel, found on samples where there are many values: always the same ones, spread over the whole tensor.
// 17 factors on at most 32,768 values of one range, or some 131,072 of several (no fewer than 128 a channel): 0.5 and
// 1.5 milliseconds on one core (SSE2), whatever the batch.
//   widest  one a channel
std::vector<Range> least_error_ranges(std::span<const float> x, const ChannelLayout& layout,
                                      std::span<const Range> widest, CodeFormat format);

}  // namespace nibble::affine
