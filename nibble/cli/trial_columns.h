// nibble/cli/trial_columns.h
// What tables of trials show of a study: searches by bits have no energies, autoencoders no accuracy.
#pragma once

#include <span>
#include <string>

#include "nibble/search/study.h"

namespace nibble::cli {

struct TrialColumns {
  std::string metric = "accuracy", cost = "energy_nj";  // names of metrics

  std::string cost_header() const { return cost == "energy_nj" ? "energy nJ" : cost; }
  // "-" where the trial has none.
  std::string metric_of(const search::Trial& trial) const;
  std::string cost_of(const search::Trial& trial) const;
  // "accuracy 0.9831, energy 12.42 nJ", "mse 0.0123, 51200 bits"
  std::string describe(const search::Trial& trial) const;
};

// Those of the first completed trial; accuracy and energy where there is none.
TrialColumns columns_of(std::span<const search::Trial> trials);

}  // namespace nibble::cli
