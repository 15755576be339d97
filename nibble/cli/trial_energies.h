// nibble/cli/trial_energies.h
// The network of any trial of a search, layer by layer: it is built from the trial's values and need not be trained.
#pragma once

#include <vector>

#include "nibble/autoq/run_config.h"
#include "nibble/cost/energy.h"
#include "nibble/graph/model.h"
#include "nibble/report/report.h"
#include "nibble/search/study.h"

namespace nibble::cli {

class TrialEnergies {
 public:
  //   throws  what loading the search's network throws
  explicit TrialEnergies(const autoq::RunConfig& config);

  //   throws  InvalidArgument if the values are none of this search
  std::vector<report::LayerRow> layers(const search::Trial& trial) const;

 private:
  autoq::RunConfig config_;
  graph::Model model_, original_;  // what trials begin with, and the reference
  cost::EnergyEstimate reference_;
};

}  // namespace nibble::cli
