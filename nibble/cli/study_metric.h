// nibble/cli/study_metric.h
// What the trials of a study are judged by, by its name in their metrics: the accuracy, to be high, or an error, to be
// low.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

#include "nibble/autoq/run_config.h"
#include "nibble/autoq/score.h"
#include "nibble/search/pareto.h"

namespace nibble::cli {

inline search::Objective metric_of(const autoq::RunConfig& config) {
  return {std::string(autoq::to_string(config.metric)), autoq::is_maximised(config.metric)};
}

// True if accuracies mean something: a network with another loss may give numbers, or its own input.
inline bool has_accuracy(const autoq::RunConfig& config) {
  return config.metric == autoq::Metric::kAccuracy || autoq::is_of_classes(config);
}

// Of a study, by the run_config that is stored with it. Where that cannot be read, or names what no trial has, it is
// the accuracy, or the error that trials without accuracies have.
search::Objective metric_of(const std::string& run_config, std::span<const search::Trial> trials);

// autoq::missed_bound of a study, by the run_config that is stored with it; empty where that cannot be read.
//   best  its best trial; may be null
std::string missed_bound_of(const std::string& run_config, const search::Trial* best);

// {"name": "mse", "direction": "minimise"}
nlohmann::json metric_json(const search::Objective& metric);

}  // namespace nibble::cli
