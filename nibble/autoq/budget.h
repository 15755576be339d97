// Hard bounds of a search, from costs that follow from a network's structure alone: what exceeds
// them is repaired or rejected before it is proposed, and so never trained.
//
//   "budget": {"energy_nj": 11, "weight_kib": 16, "ram_kib": 32}
//
// In a search by blocks the bounds are those of the whole network: a trial keeps them if it does so with the
// cheapest choices (of config.later_limit) in the layers that are quantized later.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nibble/autoq/cost_meter.h"
#include "nibble/autoq/run_config.h"
#include "nibble/graph/model.h"
#include "nibble/search/sampler.h"

namespace nibble::autoq {

// For what looks at costs alone: networks without weights are built faster. Does nothing where weights decide costs.
void leave_out_weights(RunConfig& config, graph::Model& model);

// What the bounded quantities of a network are.
struct BudgetUse {
  double energy_nj = 0;   // by the goal's settings; 0 where the goal is bits
  double weight_kib = 0;  // all weights at their quantizers' widths, unquantized ones at 8 bits; 0 without bound
  double ram_kib = 0;     // activations at the worst moment (cost/memory_footprint.h); 0 without bound
  std::vector<double> ram_steps_kib = {};  // activations at every moment; empty without bound
};

class BudgetMeter {
 public:
  //   model    before quantization; the reference and config are kept by value
  //   throws  as CostMeter
  BudgetMeter(RunConfig config, graph::Model model);

  // The network of a trial with the cheapest choices in layers that are quantized later.
  graph::Model completed(const graph::Model& trial) const;
  // Of that.
  BudgetUse use_of(const graph::Model& trial) const;
  // Sum over the bounds of how far they are exceeded, as parts of the bound; 0 inside. Of memory, the sum over all
  // moments of an inference: where several are at the peak, no single change lowers that. Infinite for choices whose
  // shapes do not fit together.
  double excess(const search::Assignment& values) const;
  double excess(const graph::Model& trial) const;

  // weight_kib and ram_kib where they are bounded.
  void add_use(const graph::Model& trial, search::Metrics& metrics) const;

  // Says which bounds a network exceeds; empty inside.
  std::string complaint(const graph::Model& trial) const;

  // Refuses bounds for which least_excess() finds nothing in the space.
  //   throws  InvalidArgument with the least cost that was found
  void check_reachable(const search::SearchSpace& space) const;

 private:
  // The choices for layers that are quantized later.
  struct Later {
    RunConfig config;
    search::Assignment cheapest;
  };
  BudgetUse measure(const graph::Model& whole) const;
  // Sum of the uses, of memory at every moment, as parts of their bounds: grows inside too, where excess() is 0.
  double load(const BudgetUse& use) const;
  Later cheapest_later() const;

  RunConfig config_;
  graph::Model model_;
  CostMeter meter_;
  cost::DataTypeOptions types_;  // of the trial's side
  std::optional<Later> later_;
};

// `inner`, kept inside config.budget; as it is where that bounds no costs.
std::unique_ptr<search::Sampler> within_budget(std::unique_ptr<search::Sampler> inner, const RunConfig& config,
                                               const graph::Model& model, uint64_t seed);

}  // namespace nibble::autoq
