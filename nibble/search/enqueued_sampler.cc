#include "nibble/search/enqueued_sampler.h"

#include <cassert>

#include "nibble/search/encoding.h"

namespace nibble::search {

EnqueuedSampler::EnqueuedSampler(std::unique_ptr<Sampler> inner, std::vector<Assignment> first)
    : inner_(std::move(inner)), first_(std::move(first)) {
  assert(inner_ && "a sampler for what comes after the list");
}

std::optional<Assignment> EnqueuedSampler::propose(const SearchSpace& space, std::span<const Trial> earlier) const {
  // What a constrained sampler around this one changed still stands for its entry, or the same one would come again.
  if (earlier.size() < first_.size()) {
    const std::set<Point> seen = points_of(space, earlier);
    for (size_t i = earlier.size(); i < first_.size(); ++i) {
      const std::optional<Point> point = encode(space, first_[i]);
      if (point && !seen.contains(*point)) return decode(space, *point);
    }
  }
  return inner_->propose(space, earlier);
}

}  // namespace nibble::search
