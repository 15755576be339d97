#include "nibble/autoq/budget.h"

#include <algorithm>
#include <cmath>

#include "nibble/autoq/search_space.h"
#include "nibble/core/error.h"
#include "nibble/cost/model_bits.h"
#include "nibble/search/constrained_sampler.h"

namespace nibble::autoq {
namespace {

constexpr double kBitsPerKib = 8.0 * 1024.0;
constexpr double kPjPerNj = 1000.0;

double beyond(double value, const std::optional<double>& bound) {
  return bound ? std::max(0.0, value / *bound - 1.0) : 0.0;
}

std::string describe(const BudgetUse& use, const Budget& budget) {
  std::string text;
  if (budget.energy_nj) text = fmt::format("energy_nj {:.4g} (budget {:.4g})", use.energy_nj, *budget.energy_nj);
  if (budget.weight_kib) {
    text += fmt::format("{}weight_kib {:.4g} (budget {:.4g})", text.empty() ? "" : ", ", use.weight_kib,
                        *budget.weight_kib);
  }
  return text;
}

}  // namespace

BudgetMeter::BudgetMeter(RunConfig config, graph::Model model)
    : config_(std::move(config)), model_(std::move(model)), meter_(config_.goal, model_, config_.compat) {
  // Weights cost nothing here; without them a network is built faster.
  for (graph::Layer& layer : model_.layers) layer.weights.clear();
  config_.transfer_weights = config_.inherit_weights = false;
}

BudgetUse BudgetMeter::use_of(const graph::Model& trial) const {
  BudgetUse use;
  if (config_.goal.kind == GoalKind::kEnergy) use.energy_nj = meter_.measure(trial).cost / kPjPerNj;
  if (config_.budget.weight_kib) {
    use.weight_kib = static_cast<double>(cost::count_bits(trial).parameters) / kBitsPerKib;
  }
  return use;
}

double BudgetMeter::excess(const graph::Model& trial) const {
  const BudgetUse use = use_of(trial);
  return beyond(use.energy_nj, config_.budget.energy_nj) + beyond(use.weight_kib, config_.budget.weight_kib);
}

double BudgetMeter::excess(const search::Assignment& values) const {
  try {
    return excess(build_trial(model_, config_, values));
  } catch (const InvalidArgument&) {
    return HUGE_VAL;  // e.g. two branches of different widths that an Add joins
  }
}

void BudgetMeter::check_reachable(const search::SearchSpace& space) const {
  const auto excess_of = [this](const search::Assignment& values) { return excess(values); };
  const search::Assignment least = search::least_excess(space, excess_of);
  if (excess(least) <= 0) return;
  throw InvalidArgument(
      "[run_config] budget: no choice of quantizers and filters that limit allows keeps it. The cheapest network found "
      "has {}. Raise the budget, or allow smaller quantizers or fewer filters (tune_filters).",
      describe(use_of(build_trial(model_, config_, least)), config_.budget));
}

std::unique_ptr<search::Sampler> within_budget(std::unique_ptr<search::Sampler> inner, const RunConfig& config,
                                               const graph::Model& model, uint64_t seed) {
  if (config.budget.is_empty()) return inner;
  auto meter = std::make_shared<const BudgetMeter>(config, model);
  return std::make_unique<search::ConstrainedSampler>(
      std::move(inner), [meter](const search::Assignment& values) { return meter->excess(values); }, seed);
}

}  // namespace nibble::autoq
