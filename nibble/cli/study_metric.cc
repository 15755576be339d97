#include "nibble/cli/study_metric.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "nibble/autoq/auto_qkeras.h"
#include "nibble/core/error.h"

namespace nibble::cli {

search::Objective metric_of(const std::string& run_config, std::span<const search::Trial> trials) {
  search::Objective metric{.metric = "accuracy", .maximise = true};
  try {
    metric = metric_of(autoq::parse_run_config(run_config));
  } catch (const Error&) {
    // Of another version, say: its trials tell as much.
  }
  const auto measured =
      std::find_if(trials.begin(), trials.end(), [](const search::Trial& trial) { return trial.score.has_value(); });
  if (measured == trials.end() || measured->metrics.contains(metric.metric)) return metric;
  for (const char* name : {"accuracy", "mse", "mae", "loss"}) {
    if (measured->metrics.contains(name)) return {name, std::string_view(name) == "accuracy"};
  }
  return metric;
}

std::string missed_bound_of(const std::string& run_config, const search::Trial* best) {
  try {
    return autoq::missed_bound(autoq::parse_run_config(run_config), best);
  } catch (const std::exception&) {  // of another version: its bounds, or its trials' metrics, have other names
    return "";
  }
}

nlohmann::json metric_json(const search::Objective& metric) {
  return {{"name", metric.metric}, {"direction", metric.maximise ? "maximise" : "minimise"}};
}

}  // namespace nibble::cli
