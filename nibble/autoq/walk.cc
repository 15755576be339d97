#include "nibble/autoq/walk.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "nibble/autoq/filter_groups.h"
#include "nibble/core/error.h"
#include "nibble/graph/layers_recurrent.h"

namespace nibble::autoq {
namespace {

using nlohmann::json;

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool has_tunable_filters(std::string_view class_name) {
  return is_one_of(class_name, {"Dense", "Conv1D", "Conv2D", "Conv2DTranspose", "SeparableConv1D", "SeparableConv2D"});
}

bool has_gate(const graph::Layer& layer) { return layer.has("recurrent_activation"); }

// Both of a Bidirectional, which share its choices; none of other layers.
std::vector<graph::Layer> layers_inside(const graph::Layer& layer) {
  if (layer.class_name != "Bidirectional") return {};
  return {graph::inner_layer(layer, "layer"), graph::inner_layer(layer, "backward_layer")};
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
    const std::vector<graph::Layer> inside = layers_inside(layer);
    const graph::Layer& first = inside.empty() ? layer : inside.front();
    if (first.get_bool("use_bias")) {
      if (const auto bias = choices_.choose(layer, Field::kBias)) entry["bias_quantizer"] = *bias;
    }
    choose_function(layer, first, "activation", Field::kActivation, entry);
    const bool has_gates =
        std::all_of(inside.begin(), inside.end(), [](const graph::Layer& one) { return has_gate(one); });
    // The reference asks for these under a key that its converter does not know, too.
    if (!compat_ && has_gates && has_gate(first)) {
      choose_function(layer, first, "recurrent_activation", Field::kRecurrentActivation, entry);
    }
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

  // Of a function that `holder`, which is the layer or is inside it, applies. A quantizer that already stands there
  // stays.
  void choose_function(const graph::Layer& layer, const graph::Layer& holder, const std::string& attribute, Field field,
                       json& entry) {
    if (!holder.has(attribute) || holder.get_quantizer(attribute)) return;
    if (is_one_of(holder.activation_function(attribute), {"", "linear", "softmax"})) return;
    const auto choice = choices_.choose(layer, field);
    if (!choice) return;
    // The reference asks and then passes the answer under a key that its converter does not know: a
    // fused activation always gets activation_bits.
    if (!compat_) entry[attribute + "_quantizer"] = *choice;
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

}  // namespace

TrialPlan walk_choices(const graph::Model& model, const RunConfig& config, Chooser choose) {
  return Walk(model, config, std::move(choose)).run();
}

}  // namespace nibble::autoq
