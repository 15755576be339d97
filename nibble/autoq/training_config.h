// The keys of a run_config that say how a trial is trained. Private to autoq/.
#pragma once

#include "nibble/autoq/run_config.h"

namespace nibble::autoq {

// throws  as parse_run_config
void parse_training(const JsonFields& fields, RunConfig& config);

// All that `loss` may be.
std::vector<std::string> loss_names();

// The one of its names that RunConfig::loss has: "mean_absolute_percentage_error" of "mape"; empty if it is no loss.
std::string plain_loss(std::string_view name);

}  // namespace nibble::autoq
