#include "nibble/search/pruner.h"

#include <algorithm>
#include <cstdint>

#include "nibble/core/error.h"

namespace nibble::search {

SuccessiveHalvingPruner::SuccessiveHalvingPruner(SuccessiveHalvingOptions options) : options_(options) {
  if (options.min_steps >= 1 && options.factor >= 2) return;
  throw InvalidArgument("[pruner] successive halving after {} steps by factor {}; give at least 1 and 2.",
                        options.min_steps, options.factor);
}

bool SuccessiveHalvingPruner::decides_at(int step) const {
  int64_t rung = options_.min_steps;
  while (rung < step) rung *= options_.factor;
  return rung == step;
}

bool SuccessiveHalvingPruner::should_stop(int step, double best, std::span<const double> others) const {
  if (!decides_at(step)) return false;
  const auto better = std::count_if(others.begin(), others.end(), [&](double score) { return score > best; });
  const auto kept = static_cast<std::ptrdiff_t>(others.size() + 1) / options_.factor;
  return better >= std::max<std::ptrdiff_t>(1, kept);
}

}  // namespace nibble::search
