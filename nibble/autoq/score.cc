#include "nibble/autoq/score.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

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

// -error / (1 + delta).
double forgiven(double error, double delta) {
  const double forgiving = std::max(kLeastForgiving, 1.0 + delta);
  return error < 0 ? -error * forgiving : -error / forgiving;  // the poisson loss may be below 0
}

// With other bounds the usual score, brought above 0 in the same order: ceiling / (ceiling + error / (1 + delta)).
double with_ceiling(const RunConfig& config, double error, const TrialCost& cost, double reference) {
  const double ceiling = *config.budget.error;
  if (error > ceiling) return ceiling / error - 1.0;
  if (!config.budget.bounds_costs()) return reference / (reference + cost.cost);
  const double usual = forgiven(error, cost.delta);
  return 1.0 + usual / (ceiling + std::abs(usual));
}

std::string ceiling_formula(const RunConfig& config, const std::string& value) {
  const double ceiling = *config.budget.error;
  const std::string inside = config.budget.bounds_costs()
                                 ? fmt::format("{0:g} / ({0:g} + {1} / (1 + delta))", ceiling, value)
                                 : "reference / (reference + cost)";
  return fmt::format("{0} up to the {1} {2:g}, {2:g} / {1} - 1 above", inside, to_string(config.metric), ceiling);
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

bool is_of_classes(const RunConfig& config) {
  return config.target == "label" && (config.loss == "crossentropy" || config.loss == "binary_crossentropy");
}

std::string score_formula(const RunConfig& config) {
  const std::string value = fmt::format("validation {}", to_string(config.metric));
  if (config.score_is_metric) return is_maximised(config.metric) ? value : "-" + value;
  if (config.budget.error) return ceiling_formula(config, value);
  if (!is_maximised(config.metric)) return fmt::format("-{} / (1 + delta)", value);
  if (!config.budget.accuracy) return value + " * (1 + delta)";
  const double floor = *config.budget.accuracy;
  return fmt::format("{} from an accuracy of {:g} on, accuracy / {:g} - 1 below",
                     config.budget.bounds_costs() ? value + " * (1 + delta)" : "reference / (reference + cost)", floor,
                     floor);
}

double score_of(const RunConfig& config, double value, const TrialCost& cost, double reference) {
  if (config.score_is_metric) return is_maximised(config.metric) ? value : -value;
  if (config.budget.error) return with_ceiling(config, value, cost, reference);
  if (!is_maximised(config.metric)) return forgiven(value, cost.delta);
  if (config.budget.accuracy) return with_floor(config, value, cost, reference);
  return value * (1.0 + cost.delta);
}

}  // namespace nibble::autoq
