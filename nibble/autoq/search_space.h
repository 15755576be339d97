// nibble/autoq/search_space.h
// What AutoQKeras may choose for a network: hyperparameters with their candidates, and the quantized
// network that one choice of each gives.
//
// One walk over the layers asks for each choice in AutoQKeras' order. To find the space, it is walked
// with an answer that is always the first candidate; to build a trial, with the trial's values. So
// the two cannot disagree. Source: spec/autoqkeras.md sections 3 and 4.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "nibble/autoq/run_config.h"
#include "nibble/graph/model.h"
#include "nibble/search/study.h"

namespace nibble::autoq {

// The learning rate's name among the hyperparameters.
inline constexpr const char* kLearningRate = "learning_rate";

// Hyperparameters in the order in which AutoQKeras makes them.
//   <layer>_kernel_quantizer, <layer>_bias_quantizer, <layer>_activation_quantizer, ...;
//   <pattern>_<field>_quantizer for a choice that all layers of a pattern share;
//   network_filters (block) or network_filters_<layer> (layer); but for compat one for all layers whose channels are
//   added to one another, named after the first of them
//   throws  InvalidArgument naming layer, key and field where the limit leaves no candidate, or a key of the limit
//           that nothing follows from (not for compat)
search::SearchSpace build_space(const graph::Model& model, const RunConfig& config);

// build_space(), and after it the learning rates where config.learning_rate_optimizer asks for them: 5 evenly spaced
// values from rate * (1 + min(total factor, 0)) to 1.1 * rate. The total factor is that of the first candidates'
// network, which is the range that AutoQKeras' tuner keeps.
//   reference_model  what costs are compared with
//   throws  as CostMeter too
search::SearchSpace full_space(const graph::Model& model, const graph::Model& reference_model, const RunConfig& config);

// The learning rate that a trial's values ask for; nothing where there is no such choice.
std::optional<double> chosen_learning_rate(const search::Assignment& values);

// What a trial changes in the network.
struct TrialPlan {
  nlohmann::json quantizers;              // for transform::model_quantize
  std::map<std::string, double> filters;  // layer -> multiplier
};
TrialPlan plan_trial(const graph::Model& model, const RunConfig& config, const search::Assignment& values);

// The network where one choice alone is made and everything else stays as it was, weights included: what its
// sensitivity is measured on. Nothing for a choice that weights cannot answer to: of filters or the learning rate.
std::optional<graph::Model> build_single(const graph::Model& model, const RunConfig& config,
                                         const std::string& parameter, const std::string& candidate);

// The quantized network of one trial, without weights unless config.transfer_weights or inherit_weights.
// Remarks of samplers (search/annotation.h) and the learning rate among the values are passed over.
//   throws  InvalidArgument if a value is missing or no candidate, or if the shapes no longer fit
graph::Model build_trial(const graph::Model& model, const RunConfig& config, const search::Assignment& values);

// Gives each layer of `trial` the weights of the layer of that name in `source` where all shapes agree.
void inherit_weights(const graph::Model& source, graph::Model& trial);

}  // namespace nibble::autoq
