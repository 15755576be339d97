#include "nibble/cli/trial_columns.h"

#include <fmt/format.h>

#include <algorithm>

namespace nibble::cli {
namespace {

std::string text_of(const search::Trial& trial, const std::string& name, const char* format) {
  const auto found = trial.metrics.find(name);
  return found == trial.metrics.end() ? "-" : fmt::format(fmt::runtime(format), found->second);
}

}  // namespace

std::string TrialColumns::metric_of(const search::Trial& trial) const {
  return text_of(trial, metric, metric == "accuracy" ? "{:.4f}" : "{:.4g}");
}

std::string TrialColumns::cost_of(const search::Trial& trial) const {
  return text_of(trial, cost, cost == "energy_nj" ? "{:.2f}" : "{:.0f}");
}

std::string TrialColumns::describe(const search::Trial& trial) const {
  return cost == "energy_nj" ? fmt::format("{} {}, energy {} nJ", metric, metric_of(trial), cost_of(trial))
                             : fmt::format("{} {}, {} {}", metric, metric_of(trial), cost_of(trial), cost);
}

TrialColumns columns_of(std::span<const search::Trial> trials) {
  const auto measured =
      std::find_if(trials.begin(), trials.end(), [](const search::Trial& trial) { return trial.score.has_value(); });
  TrialColumns columns;
  if (measured == trials.end()) return columns;
  for (const char* name : {"accuracy", "mse", "mae", "loss"}) {
    if (!measured->metrics.contains(name)) continue;
    columns.metric = name;
    break;
  }
  if (!measured->metrics.contains("energy_nj") && measured->metrics.contains("bits")) columns.cost = "bits";
  return columns;
}

}  // namespace nibble::cli
