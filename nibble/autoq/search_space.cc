#include "nibble/autoq/search_space.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "nibble/autoq/cost_meter.h"
#include "nibble/autoq/walk.h"
#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/graph/layers_recurrent.h"
#include "nibble/search/annotation.h"
#include "nibble/transform/model_quantize.h"

namespace nibble::autoq {
namespace {

using nlohmann::json;

bool is_of_filters(const std::string& parameter) { return parameter.starts_with("network_filters"); }

// max(int(n * multiplier), 1), as AutoQKeras rounds.
int64_t scaled(int64_t count, double multiplier) {
  return std::max<int64_t>(static_cast<int64_t>(static_cast<double>(count) * multiplier), 1);
}

void scale_filters(graph::Layer& layer, double multiplier, bool compat) {
  if (layer.class_name == "Reshape") {
    std::vector<int64_t> target = layer.get_ints("target_shape");
    if (target.empty()) return;
    // The reference takes min instead of max here, which leaves one channel.
    target.back() = compat ? std::min<int64_t>(static_cast<int64_t>(static_cast<double>(target.back()) * multiplier), 1)
                           : scaled(target.back(), multiplier);
    layer.attributes["target_shape"] = target;
    return;
  }
  const char* attribute = layer.class_name == "Dense" ? "units" : "filters";
  layer.attributes[attribute] = scaled(layer.get_int(attribute), multiplier);
}

}  // namespace

void inherit_weights(const graph::Model& source, graph::Model& trial) {
  const std::map<std::string, Shape> shapes = graph::infer_shapes(trial);
  for (graph::Layer& layer : trial.layers) {
    const auto from = std::find_if(source.layers.begin(), source.layers.end(),
                                   [&](const graph::Layer& candidate) { return candidate.name == layer.name; });
    if (from == source.layers.end() || from->weights.empty()) continue;
    const auto wanted = graph::weight_shapes(layer, graph::input_shapes(layer, shapes));
    const bool agrees =
        std::equal(wanted.begin(), wanted.end(), from->weights.begin(), from->weights.end(),
                   [](const auto& want, const graph::Weight& have) { return want.second == have.value.shape(); });
    if (agrees) layer.weights = from->weights;
  }
}

namespace {

// Nothing but what the values name may be left out: a typing error would search something else.
void check_values(const search::SearchSpace& space, const search::Assignment& values) {
  std::vector<std::string> names;
  for (const search::Parameter& parameter : space) names.push_back(parameter.name);
  for (const auto& [name, value] : values) {
    if (search::is_annotation(name) || name == kLearningRate) continue;
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      throw InvalidArgument("[trial] there is no hyperparameter '{}'. {}", name, suggest(name, names));
    }
  }
}

// The first candidate of everything, and filters as they are: where AutoQKeras starts.
search::Assignment first_choices(const search::SearchSpace& space) {
  search::Assignment values;
  for (const search::Parameter& parameter : space) {
    const auto& candidates = parameter.candidates;
    const bool has_one = is_of_filters(parameter.name) && std::count(candidates.begin(), candidates.end(), "1.0") > 0;
    values[parameter.name] = has_one ? "1.0" : candidates.front();
  }
  return values;
}

// Entries of which something was chosen. A layer is converted by the quantizer of its kernel (a pool by that of its
// average), so where that was not chosen one stands in, to be taken out again.
json chosen_entries(const json& quantizers) {
  constexpr const char* kStandIn = "quantized_bits(16,0,1,alpha=1.0)";
  json chosen = json::object();
  const auto is_decider = [](const std::string& key) {
    return key == "kernel_quantizer" || key == "depthwise_quantizer" || key == "average_quantizer";
  };
  const auto is_chosen = [](const json& value) { return value.is_string() && value != ""; };
  for (const auto& [layer, entry] : quantizers.items()) {
    if (is_chosen(entry)) chosen[layer] = entry;
    if (!entry.is_object() || !std::any_of(entry.begin(), entry.end(), is_chosen)) continue;
    for (const auto& [key, value] : entry.items()) {
      if (is_chosen(value)) {
        chosen[layer][key] = value;
      } else if (is_decider(key)) {
        chosen[layer][key] = kStandIn;
      }
    }
  }
  return chosen;
}

// Takes what was not chosen out of a layer again.
//   all    its entry, with "" for that; entry   what it was quantized by
void restore_own(graph::Layer& layer, const graph::Layer& before, const json& all, const json& entry) {
  for (const auto& [key, value] : all.items()) {
    if (value == "" && layer.attributes.contains(key)) layer.attributes[key] = graph::None{};
  }
  if (!entry.contains("activation_quantizer") && before.attributes.contains("activation")) {
    layer.attributes["activation"] = before.attributes.at("activation");
  }
}

// The same of a layer and of those inside it.
void restore_unchosen(graph::Layer& layer, const graph::Layer& before, const json& all, const json& entry) {
  restore_own(layer, before, all, entry);
  if (layer.class_name != "QBidirectional") return;
  for (const char* attribute : {"layer", "backward_layer"}) {
    if (!layer.has(attribute)) continue;
    graph::Layer inner = graph::inner_layer(layer, attribute);
    restore_own(inner, graph::inner_layer(before, attribute), all, entry);
    layer.attributes[attribute] = graph::as_inner_layer(inner);
  }
}

}  // namespace

search::SearchSpace build_space(const graph::Model& model, const RunConfig& config) {
  if (config.compat == Compat::kNone) config.limit.check_keys(model);
  search::SearchSpace space;
  const auto record = [&](const std::string& name, const std::vector<std::string>& candidates) {
    const auto same = [&](const search::Parameter& known) { return known.name == name; };
    if (std::none_of(space.begin(), space.end(), same)) space.push_back({name, candidates});
    return candidates.front();
  };
  walk_choices(model, config, record);
  return space;
}

search::SearchSpace full_space(const graph::Model& model, const graph::Model& reference_model,
                               const RunConfig& config) {
  constexpr int kRates = 5;
  search::SearchSpace space = build_space(model, config);
  if (!config.learning_rate_optimizer || space.empty()) return space;
  const CostMeter meter(config.goal, reference_model, config.compat);
  const double factor = meter.measure(build_trial(model, config, first_choices(space))).total_factor;
  const double lowest = config.learning_rate * (1.0 + std::min(factor, 0.0)), highest = 1.1 * config.learning_rate;
  search::Parameter rates{.name = kLearningRate, .candidates = {}};
  for (int i = 0; i < kRates; ++i) {
    rates.candidates.push_back(fmt::format("{:.6g}", lowest + (highest - lowest) * i / (kRates - 1)));
  }
  space.push_back(std::move(rates));
  return space;
}

std::optional<double> chosen_learning_rate(const search::Assignment& values) {
  const auto found = values.find(kLearningRate);
  if (found == values.end()) return std::nullopt;
  char* end = nullptr;
  const double rate = std::strtod(found->second.c_str(), &end);
  if (rate > 0 && std::isfinite(rate) && *end == 0) return rate;
  throw CorruptFile("[trial] the learning rate is '{}'; it must be a number above 0.", found->second);
}

std::optional<graph::Model> build_single(const graph::Model& model, const RunConfig& config,
                                         const std::string& parameter, const std::string& candidate) {
  if (parameter == kLearningRate || is_of_filters(parameter)) return std::nullopt;
  const auto choose_one = [&](const std::string& name, const std::vector<std::string>&) -> std::string {
    if (name == parameter) return candidate;
    return is_of_filters(name) ? "1.0" : "";
  };
  const json all = walk_choices(model, config, choose_one).quantizers;
  const json entries = chosen_entries(all);
  graph::Model single =
      transform::model_quantize(model, entries, {.activation_bits = config.activation_bits, .transfer_weights = true});
  for (const auto& [name, entry] : entries.items()) {
    if (entry.is_object()) restore_unchosen(single.layer(name), model.layer(name), all.at(name), entry);
  }
  return single;
}

TrialPlan plan_trial(const graph::Model& model, const RunConfig& config, const search::Assignment& values) {
  const auto look_up = [&](const std::string& name, const std::vector<std::string>& candidates) {
    const auto found = values.find(name);
    if (found == values.end()) throw InvalidArgument("[trial] hyperparameter '{}' has no value.", name);
    if (std::find(candidates.begin(), candidates.end(), found->second) == candidates.end()) {
      throw InvalidArgument("[trial] '{}' is no candidate of hyperparameter '{}'. {}", found->second, name,
                            suggest(found->second, candidates));
    }
    return found->second;
  };
  check_values(build_space(model, config), values);
  return walk_choices(model, config, look_up);
}

graph::Model build_trial(const graph::Model& model, const RunConfig& config, const search::Assignment& values) {
  const TrialPlan plan = plan_trial(model, config, values);
  const bool compat = config.compat != Compat::kNone;
  graph::Model scaled_model = model;
  for (graph::Layer& layer : scaled_model.layers) {
    if (!config.transfer_weights) layer.weights.clear();
    const auto filters = plan.filters.find(layer.name);
    if (filters != plan.filters.end()) scale_filters(layer, filters->second, compat);
  }
  graph::Model trial = transform::model_quantize(
      scaled_model, plan.quantizers,
      {.activation_bits = config.activation_bits,
       .transfer_weights = config.transfer_weights,
       .compat = compat ? transform::Compatibility::kQkeras : transform::Compatibility::kNibble});
  graph::infer_shapes(trial);  // throws: a Reshape or an Add may no longer fit
  if (config.inherit_weights) inherit_weights(model, trial);
  return trial;
}

}  // namespace nibble::autoq
