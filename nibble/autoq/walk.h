// nibble/autoq/walk.h
// The walk over a network's layers that search_space.h speaks of: asks for one choice after the other. Private to
// autoq/.
#pragma once

#include "nibble/autoq/choice.h"
#include "nibble/autoq/search_space.h"

namespace nibble::autoq {

//   choose   answers each question, once for each hyperparameter of the trial
//   returns  what the answers change in the network
//   throws   InvalidArgument where the limit leaves no candidate; what `choose` throws
TrialPlan walk_choices(const graph::Model& model, const RunConfig& config, Chooser choose);

}  // namespace nibble::autoq
