// nibble/cli/trial_columns.h
// What tables of trials show of a study: searches by bits have no energies, those by an error are not told by
// accuracies.
#pragma once

#include <span>
#include <string>

#include "nibble/search/pareto.h"
#include "nibble/search/study.h"

namespace nibble::cli {

struct TrialColumns {
  std::string metric = "accuracy", cost = "energy_nj";  // names of metrics

  std::string cost_header() const { return cost == "energy_nj" ? "energy nJ" : cost; }
  // "-" where the trial has none.
  std::string score_of(const search::Trial& trial) const;
  std::string metric_of(const search::Trial& trial) const;
  std::string cost_of(const search::Trial& trial) const;
  // "accuracy 0.9831, energy 12.42 nJ", "mse 0.0123, 51200 bits"
  std::string describe(const search::Trial& trial) const;
};

// The cost is that of the first completed trial, energy where there is none.
//   metric  what the trials are judged by (study_metric.h)
TrialColumns columns_of(const search::Objective& metric, std::span<const search::Trial> trials);

}  // namespace nibble::cli
