#include "nibble/autoq/score.h"

#include <fmt/format.h>

#include <algorithm>

namespace nibble::autoq {
namespace {

// A network that is dearer by far has a delta below -1, where a quotient would turn its sign.
constexpr double kLeastForgiving = 0.01;

double with_floor(const RunConfig& config, double accuracy, const TrialCost& cost, double reference) {
  const double floor = *config.budget.accuracy;
  if (accuracy < floor) return accuracy / floor - 1.0;
  if (!config.budget.bounds_costs()) return reference / (reference + cost.cost);
  return std::max(0.0, accuracy * (1.0 + cost.delta));
}

}  // namespace

std::string_view to_string(Metric metric) {
  switch (metric) {
    case Metric::kLoss:
      return "loss";
    case Metric::kMse:
      return "mse";
    case Metric::kMae:
      return "mae";
    case Metric::kAccuracy:
      break;
  }
  return "accuracy";
}

bool is_maximised(Metric metric) { return metric == Metric::kAccuracy; }

std::string score_formula(const RunConfig& config) {
  const std::string value = fmt::format("validation {}", to_string(config.metric));
  if (config.score_is_metric) return is_maximised(config.metric) ? value : "-" + value;
  if (!is_maximised(config.metric)) return fmt::format("-{} / (1 + delta)", value);
  if (!config.budget.accuracy) return value + " * (1 + delta)";
  const double floor = *config.budget.accuracy;
  return fmt::format("{} from an accuracy of {:g} on, accuracy / {:g} - 1 below",
                     config.budget.bounds_costs() ? value + " * (1 + delta)" : "reference / (reference + cost)", floor,
                     floor);
}

double score_of(const RunConfig& config, double value, const TrialCost& cost, double reference) {
  if (config.score_is_metric) return is_maximised(config.metric) ? value : -value;
  if (!is_maximised(config.metric)) {
    const double forgiving = std::max(kLeastForgiving, 1.0 + cost.delta);
    return value < 0 ? -value * forgiving : -value / forgiving;  // the poisson loss may be below 0
  }
  if (config.budget.accuracy) return with_floor(config, value, cost, reference);
  return value * (1.0 + cost.delta);
}

}  // namespace nibble::autoq
