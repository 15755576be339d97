// Proposes a list of assignments first, in their order, then what another sampler proposes.
#pragma once

#include <memory>
#include <vector>

#include "nibble/search/sampler.h"

namespace nibble::search {

class EnqueuedSampler final : public Sampler {
 public:
  //   first  those that are no points of the space, or were tried already, are passed over
  //   inner  not null
  EnqueuedSampler(std::unique_ptr<Sampler> inner, std::vector<Assignment> first);

  std::optional<Assignment> propose(const SearchSpace& space, std::span<const Trial> earlier) const override;

 private:
  std::unique_ptr<Sampler> inner_;
  std::vector<Assignment> first_;
};

}  // namespace nibble::search
