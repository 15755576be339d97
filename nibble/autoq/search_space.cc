#include "nibble/autoq/search_space.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "nibble/autoq/choice.h"
#include "nibble/autoq/cost_meter.h"
#include "nibble/autoq/filter_groups.h"
#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/search/annotation.h"
#include "nibble/transform/model_quantize.h"

namespace nibble::autoq {
namespace {

using nlohmann::json;

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_of_filters(const std::string& parameter) { return parameter.starts_with("network_filters"); }

bool has_tunable_filters(std::string_view class_name) {
  return is_one_of(class_name, {"Dense", "Conv1D", "Conv2D", "Conv2DTranspose", "SeparableConv1D", "SeparableConv2D"});
}

// The walk described in search_space.h.
class Walk {
 public:
  Walk(const graph::Model& model, const RunConfig& config, Chooser choose)
      : model_(model),
        config_(config),
        compat_(config.compat != Compat::kNone),
        selected_(config.layer_indexes.resolve(static_cast<int>(model.layers.size()))),
        choices_(config, std::move(choose)) {}

  TrialPlan run() {
    plan_.quantizers = json::object();
    choose_kernels();
    find_groups();
    if (config_.tune_filters == TuneFilters::kBlock && some_filters_are_tuned_) {
      network_filters_ = std::stod(choices_.choose_filters("network_filters"));
    }
    for (size_t i = 0; i < model_.layers.size(); ++i) {
      if (selected_[i]) visit(model_.layers[i]);
    }
    return std::move(plan_);
  }

 private:
  struct Kernels {
    std::string kernel;
    std::optional<std::string> recurrent, pointwise;
  };

  // All kernels come first. The reference asks for those of layers outside of layer_indexes too.
  void choose_kernels() {
    for (size_t i = 0; i < model_.layers.size(); ++i) {
      const graph::Layer& layer = model_.layers[i];
      if (!is_registered_class(layer.class_name) || (!selected_[i] && !compat_)) continue;
      const auto kernel = choices_.choose(layer, Field::kKernel);
      if (!kernel) continue;
      Kernels& kernels = kernels_[layer.name];
      kernels.kernel = *kernel;
      if (is_recurrent_class(layer.class_name)) {
        kernels.recurrent = last_recurrent_ = choices_.choose(layer, Field::kRecurrentKernel);
      }
      if (is_separable_class(layer.class_name)) {
        kernels.pointwise = last_pointwise_ = choices_.choose(layer, Field::kPointwiseKernel);
      }
      const bool counts = is_one_of(layer.class_name, {"Dense", "Conv1D", "Conv2D", "Conv2DTranspose"});
      if (counts && !config_.is_excepted_from_filter_tuning(layer.name)) some_filters_are_tuned_ = true;
    }
  }

  // The reference scales every layer by itself, which two branches that are added do not survive.
  void find_groups() {
    if (compat_ || config_.tune_filters == TuneFilters::kNone) return;
    groups_ = filter_groups(model_, [&](const graph::Layer& layer) {
      const bool may_change =
          has_tunable_filters(layer.class_name) ? kernels_.contains(layer.name) : is_scaled_reshape(layer);
      return may_change && selected_[static_cast<size_t>(model_.index_of(layer.name))] &&
             !config_.is_excepted_from_filter_tuning(layer.name);
    });
    some_filters_are_tuned_ = !groups_.empty();
  }

  // One that the limit names; the last extent where it is left open (-1) follows by itself.
  bool is_scaled_reshape(const graph::Layer& layer) const {
    if (layer.class_name != "Reshape" || config_.tune_filters != TuneFilters::kBlock) return false;
    const std::vector<int64_t>& target = layer.get_ints("target_shape");
    return config_.limit.entry(layer.name) != nullptr && (compat_ || (!target.empty() && target.back() != -1));
  }

  void visit(const graph::Layer& layer) {
    if (is_registered_class(layer.class_name)) {
      visit_kernel_layer(layer);
    } else if (layer.class_name == "Reshape") {
      visit_reshape(layer);
    } else if (layer.class_name == "Activation") {
      visit_activation(layer);
    } else if (layer.class_name.rfind("Q", 0) != 0 && config_.limit.find(layer.name, layer.class_name)) {
      // Marked for conversion; there is nothing to choose (BatchNormalization).
      plan_.quantizers[layer.name] = json::object();
    }
  }

  void visit_kernel_layer(const graph::Layer& layer) {
    const auto found = kernels_.find(layer.name);
    if (found == kernels_.end()) return;
    const Kernels& kernels = found->second;
    json& entry = plan_.quantizers[layer.name] = json::object();
    const bool by_depth = layer.class_name == "DepthwiseConv2D" || is_separable_class(layer.class_name);
    entry[by_depth ? "depthwise_quantizer" : "kernel_quantizer"] = kernels.kernel;
    // The reference remembers the last of these only and gives it to every layer.
    if (kernels.recurrent) entry["recurrent_quantizer"] = compat_ ? *last_recurrent_ : *kernels.recurrent;
    if (kernels.pointwise) entry["pointwise_quantizer"] = compat_ ? *last_pointwise_ : *kernels.pointwise;
    choose_filters(layer);
    if (layer.get_bool("use_bias")) {
      if (const auto bias = choices_.choose(layer, Field::kBias)) entry["bias_quantizer"] = *bias;
    }
    choose_fused_activation(layer, entry);
  }

  void choose_filters(const graph::Layer& layer) {
    if (config_.tune_filters == TuneFilters::kNone || !has_tunable_filters(layer.class_name) ||
        config_.is_excepted_from_filter_tuning(layer.name)) {
      return;
    }
    const auto group = groups_.find(layer.name);
    if (!compat_ && group == groups_.end()) return;
    const std::string& name = compat_ ? layer.name : group->second;
    plan_.filters[layer.name] = config_.tune_filters == TuneFilters::kBlock
                                    ? network_filters_
                                    : std::stod(choices_.choose_filters("network_filters_" + name));
  }

  // A quantizer that already stands there stays.
  void choose_fused_activation(const graph::Layer& layer, json& entry) {
    if (!layer.has("activation") || layer.get_quantizer("activation")) return;
    if (is_one_of(layer.activation_function(), {"", "linear", "softmax"})) return;
    const auto activation = choices_.choose(layer, Field::kActivation);
    if (!activation) return;
    // The reference asks and then passes the answer under a key that its converter does not know: a
    // fused activation always gets activation_bits.
    if (!compat_) entry["activation_quantizer"] = *activation;
  }

  void visit_activation(const graph::Layer& layer) {
    if (layer.get_quantizer("activation")) return;
    const std::string function = layer.activation_function();
    if (function == "softmax") return;
    const auto choice = choices_.choose(layer, function == "linear" ? Field::kLinear : Field::kActivation);
    if (choice) plan_.quantizers[layer.name] = *choice;
  }

  // The channels that a Reshape writes follow the filters of the network.
  void visit_reshape(const graph::Layer& layer) {
    if (config_.tune_filters == TuneFilters::kLayer) {
      throw InvalidArgument(
          "[run_config] layer '{}' is a Reshape, whose shape cannot follow filters that differ from layer to layer. "
          "Set "
          "tune_filters to \"block\" or \"none\", or leave the layer out of layer_indexes.",
          layer.name);
    }
    const bool follows = compat_ ? is_scaled_reshape(layer) && !config_.is_excepted_from_filter_tuning(layer.name)
                                 : groups_.contains(layer.name);
    if (follows) plan_.filters[layer.name] = network_filters_;
  }

  const graph::Model& model_;
  const RunConfig& config_;
  const bool compat_;
  const std::vector<bool> selected_;
  QuantizerChoices choices_;
  TrialPlan plan_;
  std::map<std::string, Kernels> kernels_;
  std::map<std::string, std::string> groups_;  // filter_groups()
  std::optional<std::string> last_recurrent_, last_pointwise_;
  bool some_filters_are_tuned_ = false;
  double network_filters_ = 1.0;
};

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

// Entries of which something was chosen. A layer is converted by the quantizer of its kernel, so where that was not
// chosen one stands in, to be taken out again.
json chosen_entries(const json& quantizers) {
  constexpr const char* kStandIn = "quantized_bits(16,0,1,alpha=1.0)";
  json chosen = json::object();
  const auto is_chosen = [](const json& value) { return value.is_string() && value != ""; };
  for (const auto& [layer, entry] : quantizers.items()) {
    if (is_chosen(entry)) chosen[layer] = entry;
    if (!entry.is_object() || !std::any_of(entry.begin(), entry.end(), is_chosen)) continue;
    for (const auto& [key, value] : entry.items()) {
      if (is_chosen(value)) {
        chosen[layer][key] = value;
      } else if (key == "kernel_quantizer" || key == "depthwise_quantizer") {
        chosen[layer][key] = kStandIn;
      }
    }
  }
  return chosen;
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
  Walk(model, config, record).run();
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
  const json all = Walk(model, config, choose_one).run().quantizers;
  const json entries = chosen_entries(all);
  graph::Model single =
      transform::model_quantize(model, entries, {.activation_bits = config.activation_bits, .transfer_weights = true});
  for (const auto& [name, entry] : entries.items()) {
    if (!entry.is_object()) continue;
    graph::Layer& layer = single.layer(name);
    for (const auto& [key, value] : all.at(name).items()) {
      if (value == "" && layer.attributes.contains(key)) layer.attributes[key] = graph::None{};
    }
    const graph::Layer& before = model.layer(name);
    if (!entry.contains("activation_quantizer") && before.attributes.contains("activation")) {
      layer.attributes["activation"] = before.attributes.at("activation");
    }
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
  return Walk(model, config, look_up).run();
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
