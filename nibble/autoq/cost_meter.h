// nibble/autoq/cost_meter.h
// Measures trials against the unquantized network, by a goal.
#pragma once

#include <map>
#include <string>

#include "nibble/autoq/goal.h"
#include "nibble/autoq/run_config.h"
#include "nibble/cost/energy.h"
#include "nibble/graph/model.h"

namespace nibble::autoq {

struct TrialCost {
  double cost = 0;          // pJ (energy) or bits
  double delta = 0;         // forgiving factor: score = metric * (1 + delta)
  double total_factor = 0;  // (cost - reference) / reference; -0.9 is a saving of 90 %
};

class CostMeter {
 public:
  //   reference_model  the network before quantization
  //   throws  InvalidArgument if the reference costs nothing, or the goal has another number of source quantizers than
  //           it has inputs (and not one for all); what reading a process table throws
  CostMeter(const GoalConfig& goal, const graph::Model& reference_model, Compat compat);

  // Before stress.
  double reference() const { return reference_; }

  // Of a network before quantization, layer by layer, before stress; layers that this goal does not count are absent.
  std::map<std::string, double> layer_costs(const graph::Model& reference_model) const;

  // With goal.params.trained_model, the weights that the trial has count too.
  //   throws  InvalidArgument if the trial costs nothing, so that no ratio can be formed
  TrialCost measure(const graph::Model& trial) const;

 private:
  double cost_of(const graph::Model& model, bool for_reference) const;

  GoalConfig goal_;
  Compat compat_;
  cost::ProcessTable process_;
  double reference_ = 0;
};

// Settings of the energy goal's two sides, for reports that show its layers.
cost::EnergyQuery energy_query(const GoalConfig& goal, Compat compat, bool for_reference);

}  // namespace nibble::autoq
