// What chooses the trials of a run_config.
#pragma once

#include <memory>

#include "nibble/autoq/run_config.h"
#include "nibble/graph/model.h"
#include "nibble/search/sampler.h"

namespace nibble::autoq {

// The mode's sampler, behind first_trials and inside of the budget. NSGA-II looks at the metric and the cost, the
// others at the score.
//   model  before quantization
//   throws  InvalidArgument as BudgetMeter
std::unique_ptr<search::Sampler> make_sampler(const RunConfig& config, const graph::Model& model, uint64_t seed);

//   throws  InvalidArgument naming the first of config.first_trials that is no point of the space, and why
void check_first_trials(const RunConfig& config, const search::SearchSpace& space);

}  // namespace nibble::autoq
