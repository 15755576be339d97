// Lets a trial start from the weights of the nearest completed one.
//
// Distance is the number of parameters that differ; of equally near trials the one of higher score is
// taken, then the one of lower number. Weights fit where shapes agree; which do is not known here.
#pragma once

#include <memory>

#include "nibble/search/sampler.h"

namespace nibble::search {

class NearestSampler final : public Sampler {
 public:
  //   inner  proposes the values; not null
  explicit NearestSampler(std::unique_ptr<Sampler> inner);

  // inner's values, with the remark @weights_from once a trial is completed.
  std::optional<Assignment> propose(const SearchSpace& space, std::span<const Trial> earlier) const override;

 private:
  std::unique_ptr<Sampler> inner_;
};

}  // namespace nibble::search
