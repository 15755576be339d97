#include "nibble/search/random_sampler.h"

#include <set>

#include "nibble/core/error.h"
#include "nibble/core/philox.h"
#include "nibble/search/annotation.h"

namespace nibble::search {
namespace {

Assignment draw(const SearchSpace& space, RandomStream& stream) {
  Assignment values;
  for (const Parameter& parameter : space) {
    const auto count = static_cast<uint32_t>(parameter.candidates.size());
    values[parameter.name] = parameter.candidates[stream.below(count)];
  }
  return values;
}

}  // namespace

int64_t size_of(const SearchSpace& space) {
  constexpr int64_t kLimit = int64_t{1} << 62;
  int64_t size = 1;
  for (const Parameter& parameter : space) {
    const auto count = static_cast<int64_t>(parameter.candidates.size());
    if (count != 0 && size > kLimit / count) return kLimit;
    size *= count;
  }
  return size;
}

std::optional<Assignment> RandomSampler::propose(const SearchSpace& space, std::span<const Trial> earlier) const {
  for (const Parameter& parameter : space) {
    if (parameter.candidates.empty()) {
      throw InvalidArgument("[RandomSampler] parameter '{}' has no candidates; give it at least one.", parameter.name);
    }
  }
  std::set<Assignment> seen;
  for (const Trial& trial : earlier) seen.insert(without_annotations(trial.values));
  const auto number = static_cast<uint32_t>(earlier.size());
  RandomStream stream({.seed = seed_, .purpose = RandomPurpose::kSampler, .layer = 0, .step = number});
  for (int collisions = 0; collisions <= kMaxCollisions; ++collisions) {
    Assignment values = draw(space, stream);
    if (!seen.contains(values)) return values;
  }
  return std::nullopt;
}

}  // namespace nibble::search
