// The keys of a run_config that say which trials are made, how they are judged and what bounds them. Private to autoq/.
#pragma once

#include "nibble/autoq/run_config.h"

namespace nibble::autoq {

// After parse_training: epochs and early stopping mean something else to hyperband.
//   throws  as parse_run_config
void parse_strategy(const JsonFields& fields, RunConfig& config);

}  // namespace nibble::autoq
