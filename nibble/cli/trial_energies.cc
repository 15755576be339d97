#include "nibble/cli/trial_energies.h"

#include "nibble/autoq/search_space.h"
#include "nibble/autoq/training_runner.h"
#include "nibble/cli/model_report.h"
#include "nibble/cli/search_report.h"

namespace nibble::cli {

TrialEnergies::TrialEnergies(const autoq::RunConfig& config)
    : config_(config),
      model_(autoq::load_search_model(config)),
      original_(autoq::load_reference_model(config, model_)),
      reference_(cost::estimate(original_, query_of(config, true))) {}

std::vector<report::LayerRow> TrialEnergies::layers(const search::Trial& trial) const {
  const graph::Model model = autoq::build_trial(model_, config_, trial.values);
  return layer_rows(model, original_, reference_, cost::estimate(model, query_of(config_, false)));
}

}  // namespace nibble::cli
