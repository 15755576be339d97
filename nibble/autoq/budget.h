// Hard bounds of a search, from costs that follow from a network's structure alone: what exceeds
// them is repaired or rejected before it is proposed, and so never trained.
//
//   "budget": {"energy_nj": 11, "weight_kib": 16}
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "nibble/autoq/cost_meter.h"
#include "nibble/autoq/run_config.h"
#include "nibble/graph/model.h"
#include "nibble/search/sampler.h"

namespace nibble::autoq {

// What the bounded quantities of a network are.
struct BudgetUse {
  double energy_nj = 0;   // by the goal's settings; 0 where the goal is bits
  double weight_kib = 0;  // all weights at their quantizers' widths, unquantized ones at 8 bits
};

class BudgetMeter {
 public:
  //   model    before quantization; the reference and config are kept by value
  //   throws  as CostMeter
  BudgetMeter(RunConfig config, graph::Model model);

  BudgetUse use_of(const graph::Model& trial) const;
  // Sum over the bounds of how far they are exceeded, as parts of the bound; 0 inside. Infinite for choices whose
  // shapes do not fit together.
  double excess(const search::Assignment& values) const;
  double excess(const graph::Model& trial) const;

  // Refuses bounds that nothing in the space keeps.
  //   throws  InvalidArgument with the least cost that was found
  void check_reachable(const search::SearchSpace& space) const;

 private:
  RunConfig config_;
  graph::Model model_;
  CostMeter meter_;
};

// `inner`, kept inside config.budget; as it is where there is none.
std::unique_ptr<search::Sampler> within_budget(std::unique_ptr<search::Sampler> inner, const RunConfig& config,
                                               const graph::Model& model, uint64_t seed);

}  // namespace nibble::autoq
