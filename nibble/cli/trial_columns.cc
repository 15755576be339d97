#include "nibble/cli/trial_columns.h"

#include <fmt/format.h>

#include <algorithm>

#include "nibble/cli/wording.h"

namespace nibble::cli {
namespace {

std::string text_of(const search::Trial& trial, const std::string& name, const char* format) {
  const auto found = trial.metrics.find(name);
  return found == trial.metrics.end() ? "-" : fmt::format(fmt::runtime(format), found->second);
}

}  // namespace

// Errors, and scores that follow from them, may be of any size.
std::string TrialColumns::score_of(const search::Trial& trial) const {
  if (!trial.score) return "-";
  return metric == "accuracy" ? fmt::format("{:.5f}", *trial.score) : fmt::format("{:.5g}", *trial.score);
}

std::string TrialColumns::metric_of(const search::Trial& trial) const {
  return text_of(trial, metric, metric == "accuracy" ? "{:.4f}" : "{:.4g}");
}

std::string TrialColumns::cost_of(const search::Trial& trial) const {
  if (cost != "energy_nj") return text_of(trial, cost, "{:.0f}");
  const auto found = trial.metrics.find(cost);
  return found == trial.metrics.end() ? "-" : small_figure(found->second);
}

std::string TrialColumns::describe(const search::Trial& trial) const {
  return cost == "energy_nj" ? fmt::format("{} {}, energy {} nJ", metric, metric_of(trial), cost_of(trial))
                             : fmt::format("{} {}, {} {}", metric, metric_of(trial), cost_of(trial), cost);
}

TrialColumns columns_of(const search::Objective& metric, std::span<const search::Trial> trials) {
  TrialColumns columns{.metric = metric.metric};
  const auto measured =
      std::find_if(trials.begin(), trials.end(), [](const search::Trial& trial) { return trial.score.has_value(); });
  if (measured == trials.end()) return columns;
  if (!measured->metrics.contains("energy_nj") && measured->metrics.contains("bits")) columns.cost = "bits";
  return columns;
}

}  // namespace nibble::cli
