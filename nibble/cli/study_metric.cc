#include "nibble/cli/study_metric.h"

#include <algorithm>
#include <nlohmann/json.hpp>

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

nlohmann::json metric_json(const search::Objective& metric) {
  return {{"name", metric.metric}, {"direction", metric.maximise ? "maximise" : "minimise"}};
}

}  // namespace nibble::cli
