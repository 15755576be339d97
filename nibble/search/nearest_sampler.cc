#include "nibble/search/nearest_sampler.h"

#include <cassert>

#include "nibble/search/annotation.h"

namespace nibble::search {
namespace {

int distance(const SearchSpace& space, const Assignment& a, const Assignment& b) {
  int differing = 0;
  for (const Parameter& parameter : space) {
    const auto left = a.find(parameter.name), right = b.find(parameter.name);
    const bool same = left != a.end() && right != b.end() && left->second == right->second;
    differing += same ? 0 : 1;
  }
  return differing;
}

}  // namespace

NearestSampler::NearestSampler(std::unique_ptr<Sampler> inner) : inner_(std::move(inner)) {
  assert(inner_ && "a sampler whose trials get weights");
}

std::optional<Assignment> NearestSampler::propose(const SearchSpace& space, std::span<const Trial> earlier) const {
  std::optional<Assignment> values = inner_->propose(space, earlier);
  if (!values) return std::nullopt;
  const Trial* nearest = nullptr;
  int least = 0;
  for (const Trial& trial : earlier) {
    if (trial.state != TrialState::kCompleted || !trial.score) continue;
    const int differing = distance(space, *values, trial.values);
    if (nearest != nullptr && (differing > least || (differing == least && *trial.score <= *nearest->score))) continue;
    nearest = &trial;
    least = differing;
  }
  if (nearest != nullptr) (*values)[kWeightsFrom] = std::to_string(nearest->number);
  return values;
}

}  // namespace nibble::search
