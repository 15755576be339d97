#include "nibble/autoq/budget.h"

#include <algorithm>
#include <cmath>

#include "nibble/autoq/search_space.h"
#include "nibble/core/error.h"
#include "nibble/cost/memory_footprint.h"
#include "nibble/cost/model_bits.h"
#include "nibble/search/constrained_sampler.h"

namespace nibble::autoq {
namespace {

constexpr double kBitsPerKib = 8.0 * 1024.0;
constexpr double kPjPerNj = 1000.0;

double beyond(double value, const std::optional<double>& bound) {
  return bound ? std::max(0.0, value / *bound - 1.0) : 0.0;
}

// "energy_nj 12.1 (budget 11), ram_kib 4 (budget 8)"; with `beyond_only`, what exceeds its bound.
std::string describe(const BudgetUse& use, const Budget& budget, bool beyond_only) {
  struct Row {
    const char* name;
    double value;
    const std::optional<double>& bound;
  };
  const Row rows[] = {{"energy_nj", use.energy_nj, budget.energy_nj},
                      {"weight_kib", use.weight_kib, budget.weight_kib},
                      {"ram_kib", use.ram_kib, budget.ram_kib}};
  std::string text;
  for (const Row& row : rows) {
    if (!row.bound || (beyond_only && row.value <= *row.bound)) continue;
    text += fmt::format("{}{} {:.4g} (budget {:.4g})", text.empty() ? "" : ", ", row.name, row.value, *row.bound);
  }
  return text;
}

}  // namespace

void leave_out_weights(RunConfig& config, graph::Model& model) {
  if (config.goal.counts_trained_weights()) return;
  for (graph::Layer& layer : model.layers) layer.weights.clear();
  config.transfer_weights = config.inherit_weights = false;
}

BudgetMeter::BudgetMeter(RunConfig config, graph::Model model)
    : config_(std::move(config)), model_(std::move(model)), meter_(config_.goal, model_, config_.compat) {
  leave_out_weights(config_, model_);
  if (config_.goal.kind == GoalKind::kEnergy) types_ = energy_query(config_.goal, config_.compat, false).types;
  if (!config_.later_limit.is_empty()) later_ = cheapest_later();
}

BudgetMeter::Later BudgetMeter::cheapest_later() const {
  Later later{.config = config_, .cheapest = {}};
  later.config.limit = config_.later_limit;
  later.config.later_limit = {};
  const auto load_of = [&](const search::Assignment& values) {
    try {
      return load(measure(build_trial(model_, later.config, values)));
    } catch (const InvalidArgument&) {
      return HUGE_VAL;
    }
  };
  // Never inside, so every start would be tried, and each worker does this.
  later.cheapest = search::least_excess(build_space(model_, later.config), load_of, /*starts=*/1);
  return later;
}

graph::Model BudgetMeter::completed(const graph::Model& trial) const {
  return later_ ? build_trial(trial, later_->config, later_->cheapest) : trial;
}

BudgetUse BudgetMeter::use_of(const graph::Model& trial) const { return measure(completed(trial)); }

BudgetUse BudgetMeter::measure(const graph::Model& whole) const {
  BudgetUse use;
  if (config_.goal.kind == GoalKind::kEnergy) use.energy_nj = meter_.measure(whole).cost / kPjPerNj;
  if (config_.budget.weight_kib) {
    use.weight_kib = static_cast<double>(cost::count_bits(whole).parameters) / kBitsPerKib;
  }
  if (config_.budget.ram_kib) {
    const cost::MemoryFootprint footprint = cost::memory_footprint(whole, types_);
    use.ram_kib = static_cast<double>(footprint.peak_bits) / kBitsPerKib;
    for (const cost::MemoryStep& step : footprint.steps) {
      use.ram_steps_kib.push_back(static_cast<double>(step.living_bits) / kBitsPerKib);
    }
  }
  return use;
}

double BudgetMeter::load(const BudgetUse& use) const {
  const Budget& budget = config_.budget;
  double sum = 0;
  if (budget.energy_nj) sum += use.energy_nj / *budget.energy_nj;
  if (budget.weight_kib) sum += use.weight_kib / *budget.weight_kib;
  for (const double step : use.ram_steps_kib) sum += step / *budget.ram_kib;
  return sum;
}

double BudgetMeter::excess(const graph::Model& trial) const {
  const BudgetUse use = use_of(trial);
  double sum = beyond(use.energy_nj, config_.budget.energy_nj) + beyond(use.weight_kib, config_.budget.weight_kib);
  for (const double step : use.ram_steps_kib) sum += beyond(step, config_.budget.ram_kib);
  return sum;
}

void BudgetMeter::add_use(const graph::Model& trial, search::Metrics& metrics) const {
  const BudgetUse use = use_of(trial);
  if (config_.budget.weight_kib) metrics["weight_kib"] = use.weight_kib;
  if (config_.budget.ram_kib) metrics["ram_kib"] = use.ram_kib;
}

std::string BudgetMeter::complaint(const graph::Model& trial) const {
  return describe(use_of(trial), config_.budget, /*beyond_only=*/true);
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
      "[run_config] budget: among the quantizers and filters that limit allows, no network that keeps it was found. "
      "The cheapest network found has {}. Raise the budget, or allow smaller quantizers or fewer filters "
      "(tune_filters).",
      describe(use_of(build_trial(model_, config_, least)), config_.budget, /*beyond_only=*/false));
}

std::unique_ptr<search::Sampler> within_budget(std::unique_ptr<search::Sampler> inner, const RunConfig& config,
                                               const graph::Model& model, uint64_t seed) {
  if (!config.budget.bounds_costs()) return inner;
  auto meter = std::make_shared<const BudgetMeter>(config, model);
  return std::make_unique<search::ConstrainedSampler>(
      std::move(inner), [meter](const search::Assignment& values) { return meter->excess(values); }, seed);
}

}  // namespace nibble::autoq
