// The first trials of a search out of what a trained float network tells.
//
//   sensitivity of a choice   how much the loss on some training samples rises when this choice alone is made;
//   batch-norm
//                             statistics are measured anew, weights stay
//   its cost                  how much the network's cost changes by it; since a product's energy depends on both of
//   its
//                             factors, costs are taken around the last solution, and solved again
//   a trial                   the exact knapsack (search/knapsack.h): least summed sensitivity within a cost
//
// Trials lie at costs spread evenly, by their ratio, between the cheapest network and the one of least sensitivity, or
// the budget of energy where that is lower. Where one exceeds a bound of weights or memory, choices with the least rise
// for what they save are made smaller until it does not. Filters keep their number, or are all scaled alike where a
// budget needs it.
//
// In a search by blocks the network is the one that the block begins with: earlier blocks quantized and trained as they
// were found, later ones float until their turn. Within bounds of costs, a trial's cost is that with the cheapest
// choices (config.later_limit) in the later ones, as in budget.h.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "nibble/autoq/run_config.h"
#include "nibble/data/dataset.h"
#include "nibble/graph/model.h"
#include "nibble/search/study.h"

namespace nibble::autoq {

struct Sensitivity {
  double float_loss = 0;
  // [parameter][candidate] in the space's order: rise of the loss, 0 for choices of filters and the learning rate.
  std::vector<std::vector<double>> rises;
};

//   model    with trained weights
//   throws  InvalidArgument if it has none
Sensitivity measure_sensitivity(const RunConfig& config, const graph::Model& model, const data::Dataset& dataset,
                                const search::SearchSpace& space);

// {"float_loss": .., "parameters": {"conv_kernel_quantizer": {"binary": 0.31, ...}, ...}}
nlohmann::json to_json(const Sensitivity& sensitivity, const search::SearchSpace& space);

// At most config.guided_start->trials, and no more than max_trials leaves beside first_trials; the dearest first, none
// twice.
//   reference_model  what costs are compared with
std::vector<search::Assignment> guided_trials(const RunConfig& config, const graph::Model& model,
                                              const graph::Model& reference_model, const search::SearchSpace& space,
                                              const Sensitivity& sensitivity);

}  // namespace nibble::autoq
