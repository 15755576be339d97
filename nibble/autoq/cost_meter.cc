#include "nibble/autoq/cost_meter.h"

#include <algorithm>

#include "nibble/core/error.h"
#include "nibble/cost/model_bits.h"

namespace nibble::autoq {
namespace {

cost::BitsOptions bits_options(const BitsGoal& goal, Compat compat) {
  cost::BitsOptions options;
  options.compat = compat;
  options.ref_bits = goal.ref_bits;
  options.input_bits = goal.input_bits;
  options.output_bits = goal.output_bits;
  options.config.clear();
  for (const auto& [class_name, parts] : goal.config) {
    const auto has = [&parts = parts](const char* part) {
      return std::find(parts.begin(), parts.end(), part) != parts.end();
    };
    options.config[class_name] = {.parameters = has("parameters"), .activations = has("activations")};
  }
  return options;
}

cost::EnergyQuery query_with(const GoalConfig& goal, Compat compat, bool for_reference, cost::ProcessTable process) {
  const EnergyGoal& energy = goal.energy;
  const size_t side = for_reference ? 0 : 1;
  cost::EnergyQuery query;
  query.types.compat = compat;
  query.types.for_reference = for_reference;
  query.types.keras_quantizer = cost::type_from_text(energy.reference_internal, compat);
  query.types.keras_accumulator = cost::type_from_text(energy.reference_accumulator, compat);
  if (for_reference) {
    query.types.sources = {*query.types.keras_quantizer};
  } else {
    for (const std::string& text : energy.source_quantizers) {
      query.types.sources.push_back(cost::type_from_text(text, compat));
    }
  }
  // Whoever looks for cheap networks leaves the weights out, and gets the costs of their types.
  query.types.use_weights = query.types.weights_may_miss = energy.trained_model && !for_reference;
  query.energy.weights_on_memory = cost::memory_from_string(energy.parameters_on_memory[side]);
  query.energy.activations_on_memory = cost::memory_from_string(energy.activations_on_memory[side]);
  query.energy.min_sram_bits = energy.min_sram_size[side];
  query.energy.rd_wr_on_io = energy.rd_wr_on_io[side];
  query.energy.process = std::move(process);
  return query;
}

// The reference is measured with other types of inputs, so it would be the trials that fail.
void check_sources(const GoalConfig& goal, const graph::Model& model) {
  const size_t given = goal.energy.source_quantizers.size(), inputs = model.inputs.size();
  if (goal.kind != GoalKind::kEnergy || given <= 1 || given == inputs) return;
  throw InvalidArgument(
      "[run_config] goal.params.source_quantizers has {} elements, but the network has {} input{}. Give one for all "
      "inputs, or one each.",
      given, inputs, inputs == 1 ? "" : "s");
}

}  // namespace

cost::EnergyQuery energy_query(const GoalConfig& goal, Compat compat, bool for_reference) {
  return query_with(goal, compat, for_reference, cost::named_process_table(goal.energy.process));
}

CostMeter::CostMeter(const GoalConfig& goal, const graph::Model& reference_model, Compat compat)
    : goal_(goal), compat_(compat) {
  check_sources(goal, reference_model);
  if (goal.kind == GoalKind::kEnergy) process_ = cost::named_process_table(goal.energy.process);
  reference_ = cost_of(reference_model, true);
  if (!(reference_ > 0)) {
    throw InvalidArgument(
        "[run_config] goal: the network before quantization costs {} by this goal, so nothing can be saved. Check "
        "goal.params.",
        reference_);
  }
}

double CostMeter::cost_of(const graph::Model& model, bool for_reference) const {
  if (goal_.kind == GoalKind::kBits) {
    return static_cast<double>(cost::count_bits(model, bits_options(goal_.bits, compat_)).total());
  }
  return static_cast<double>(cost::estimate(model, query_with(goal_, compat_, for_reference, process_)).total_pj);
}

std::map<std::string, double> CostMeter::layer_costs(const graph::Model& reference_model) const {
  std::map<std::string, double> costs;
  if (goal_.kind == GoalKind::kBits) {
    for (const cost::LayerBits& layer : cost::count_bits(reference_model, bits_options(goal_.bits, compat_)).layers) {
      costs[layer.name] = static_cast<double>(layer.total);
    }
  } else {
    for (const cost::LayerEnergy& layer :
         cost::estimate(reference_model, query_with(goal_, compat_, true, process_)).layers) {
      costs[layer.name] = layer.included_pj;
    }
  }
  return costs;
}

TrialCost CostMeter::measure(const graph::Model& trial) const {
  cost::ForgivingFactor factor = goal_.factor;
  // The reference applies stress to the cost that it prints only, so an energy score never sees it.
  if (goal_.kind == GoalKind::kEnergy && compat_ != Compat::kNone) factor.stress = 1.0;
  TrialCost result;
  result.cost = cost_of(trial, false);
  if (!(result.cost > 0)) {
    throw InvalidArgument("[trial] the quantized network costs {} by this goal; no saving can be computed from that.",
                          result.cost);
  }
  result.delta = factor.delta(reference_, result.cost);
  result.total_factor = (result.cost - reference_) / reference_;
  return result;
}

}  // namespace nibble::autoq
