#include "nibble/report/code_histogram.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "nibble/core/error.h"

namespace nibble::report {
namespace {

using Kind = quant::Encoded::Kind;

void check(const quant::Encoded& encoded) {
  if (encoded.codes.empty()) {
    throw InvalidArgument("[code_histogram] the tensor has no elements; give the codes of a weight with at least one.");
  }
  if (encoded.kind == Kind::kAffine) return;
  if (encoded.signs.size() != encoded.codes.size()) {
    throw InvalidArgument(
        "[code_histogram] {} power-of-two codes come with {} signs; each code needs its own sign, -1 or +1.",
        encoded.codes.size(), encoded.signs.size());
  }
  for (size_t i = 0; i < encoded.signs.size(); ++i) {
    const int sign = encoded.signs[i];
    if (sign != 1 && sign != -1) {
      throw InvalidArgument("[code_histogram] the sign of element {} is {}; a power of two has sign -1 or +1.", i,
                            sign);
    }
  }
}

// Bins for the codes of one sign, ascending by code.
std::vector<CodeBin> bin_codes(const std::vector<int32_t>& codes, int sign) {
  if (codes.empty()) return {};
  const auto [lowest, highest] = std::minmax_element(codes.begin(), codes.end());
  int64_t width = 1;
  // Bins start at multiples of the width, so that a bin never straddles 0 from both sides.
  const auto start_of = [&](int64_t code) {
    return static_cast<int64_t>(std::floor(static_cast<double>(code) / static_cast<double>(width))) * width;
  };
  while ((start_of(*highest) - start_of(*lowest)) / width + 1 > kMaxCodeBins) width *= 2;
  const int64_t start = start_of(*lowest);
  std::vector<CodeBin> bins(static_cast<size_t>((start_of(*highest) - start) / width + 1));
  for (size_t i = 0; i < bins.size(); ++i) {
    const int64_t first = start + static_cast<int64_t>(i) * width;
    bins[i] = {.first = static_cast<int32_t>(std::max<int64_t>(first, *lowest)),
               .last = static_cast<int32_t>(std::min<int64_t>(first + width - 1, *highest)),
               .sign = sign};
  }
  for (const int32_t code : codes) ++bins[static_cast<size_t>((code - start) / width)].count;
  return bins;
}

int64_t distinct(const std::vector<int32_t>& codes) {
  return static_cast<int64_t>(std::unordered_set<int32_t>(codes.begin(), codes.end()).size());
}

void count_affine(const quant::Encoded& encoded, CodeHistogram& histogram) {
  histogram.zero_point = encoded.zero_point;
  histogram.bins = bin_codes(encoded.codes, 1);
  histogram.zeros = std::count(encoded.codes.begin(), encoded.codes.end(), encoded.zero_point);
  histogram.used_codes = distinct(encoded.codes);
}

void count_powers_of_two(const quant::Encoded& encoded, CodeHistogram& histogram) {
  std::vector<int32_t> negative, positive;
  for (size_t i = 0; i < encoded.codes.size(); ++i) {
    (encoded.signs[i] < 0 ? negative : positive).push_back(encoded.codes[i]);
  }
  // Among negative values the largest exponent is the lowest value.
  histogram.bins = bin_codes(negative, -1);
  std::reverse(histogram.bins.begin(), histogram.bins.end());
  const std::vector<CodeBin> upper = bin_codes(positive, 1);
  histogram.bins.insert(histogram.bins.end(), upper.begin(), upper.end());
  histogram.used_codes = distinct(negative) + distinct(positive);
}

}  // namespace

CodeHistogram code_histogram(const quant::Encoded& encoded) {
  check(encoded);
  CodeHistogram histogram{.kind = encoded.kind, .bit_width = encoded.bit_width};
  histogram.total = static_cast<int64_t>(encoded.codes.size());
  const auto scale = encoded.scale.data();
  if (!scale.empty()) {
    const auto [lowest, highest] = std::minmax_element(scale.begin(), scale.end());
    histogram.scale_min = *lowest;
    histogram.scale_max = *highest;
  }
  if (encoded.kind == Kind::kAffine) {
    count_affine(encoded, histogram);
  } else {
    count_powers_of_two(encoded, histogram);
  }
  return histogram;
}

}  // namespace nibble::report
