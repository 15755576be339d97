#include "nibble/autoq/walk.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>

#include "nibble/autoq/filter_groups.h"
#include "nibble/core/error.h"
#include "nibble/graph/layers_recurrent.h"
#include "nibble/quant/quantizer.h"

namespace nibble::autoq {
namespace {

using nlohmann::json;

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool has_tunable_filters(std::string_view class_name) {
  return is_one_of(class_name, {"Dense", "Conv1D", "Conv2D", "Conv2DTranspose", "SeparableConv1D", "SeparableConv2D"});
}

bool is_pool(const graph::Layer& layer) {
  return is_one_of(layer.class_name, {"AveragePooling2D", "GlobalAveragePooling2D"});
}

bool takes_slope(const std::string& quantizer) {
  return quant::get_quantizer(quantizer)->config().contains("negative_slope");
}

// The quantizer with the slope of a LeakyReLU, rounded to the power of two that quantizers can have; one that has a
// slope of its own, or can have none, as it is.
std::string with_slope(const std::string& text, double slope) {
  if (text.empty()) return text;  // not chosen, in the network where another choice is made alone
  const quant::QuantizerPtr quantizer = quant::get_quantizer(text);
  json config = quantizer->config();
  const auto own = config.find("negative_slope");
  if (own == config.end() || *own != 0.0) return text;
  *own = std::exp2(std::clamp(std::round(std::log2(slope)), -64.0, 0.0));
  return quant::quantizer_from_config(quantizer->class_name(), config)->str();
}

// Whether 1 / area comes out of the quantizer to the half; a binary one would give 1, one of few bits 0.
bool keeps_average(const std::string& quantizer, int64_t area) {
  if (area == 0) return true;
  const float exact = 1.0f / static_cast<float>(area);
  const float rounded = quant::get_quantizer(quantizer)->quantize(Tensor::scalar(exact)).real[0];
  return std::abs(rounded - exact) <= 0.5f * exact;
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
    } else if (layer.class_name.rfind("Q", 0) != 0) {
      if (const auto match = config_.limit.find(layer.name, layer.class_name)) visit_marked(layer, *match);
    }
  }

  // The reference marks these for conversion and chooses nothing, whatever the list holds: only BatchNormalization
  // changes then.
  void visit_marked(const graph::Layer& layer, const Limit::Match& match) {
    if (compat_) {
      plan_.quantizers[layer.name] = json::object();
    } else if (is_one_of(layer.class_name, {"ReLU", "LeakyReLU"})) {
      visit_rectifier(layer);
    } else if (layer.class_name == "BatchNormalization") {
      visit_batch_norm(layer, match);
    } else if (is_pool(layer) && owns_list(layer, match)) {
      visit_pool(layer, match);
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

  void visit_rectifier(const graph::Layer& layer) {
    const double slope = layer.get_float("negative_slope");
    const bool is_leaky = slope > 0;
    const auto choice = is_leaky ? choices_.choose(layer, Field::kLeakyActivation, takes_slope)
                                 : choices_.choose(layer, Field::kActivation);
    if (choice) plan_.quantizers[layer.name] = is_leaky ? with_slope(*choice, slope) : *choice;
  }

  // A list may end before its four elements; without any, the layer is only converted.
  void visit_batch_norm(const graph::Layer& layer, const Limit::Match& match) {
    struct Part {
      Field field;
      const char *quantizer, *condition;
    };
    static constexpr Part kParts[] = {{Field::kGamma, "gamma_quantizer", "scale"},
                                      {Field::kBeta, "beta_quantizer", "center"},
                                      {Field::kMean, "mean_quantizer", nullptr},
                                      {Field::kVariance, "variance_quantizer", nullptr}};
    json& entry = plan_.quantizers[layer.name] = json::object();
    if (!owns_list(layer, match)) return;
    for (size_t i = 0; i < std::min(std::size(kParts), match.entry->elements.size()); ++i) {
      const Part& part = kParts[i];
      if (part.condition != nullptr && !layer.get_bool(part.condition)) continue;
      if (const auto choice = choices_.choose(layer, part.field)) entry[part.quantizer] = *choice;
    }
  }

  void visit_pool(const graph::Layer& layer, const Limit::Match& match) {
    std::vector<const graph::Layer*> sharing = {&layer};
    if (match.by_pattern) sharing = found_through(match);
    std::erase_if(sharing, [](const graph::Layer* other) { return !is_pool(*other); });
    const auto average = choices_.choose(layer, Field::kAverage, [&](const std::string& quantizer) {
      return std::all_of(sharing.begin(), sharing.end(),
                         [&](const graph::Layer* pool) { return keeps_average(quantizer, area_of(*pool)); });
    });
    json& entry = plan_.quantizers[layer.name] = json::object();
    entry["average_quantizer"] = *average;
    if (match.entry->elements.size() < 2) return;
    if (const auto activation = choices_.choose(layer, Field::kPoolActivation)) {
      entry["activation_quantizer"] = *activation;
    }
  }

  // Of the values that an average is formed of; 0 where that is not known.
  int64_t area_of(const graph::Layer& pool) {
    if (pool.attributes.contains("pool_size")) {
      const std::vector<int64_t>& extents = pool.get_ints("pool_size");
      return std::accumulate(extents.begin(), extents.end(), int64_t{1}, std::multiplies<>());
    }
    if (shapes_.empty()) shapes_ = graph::infer_shapes(model_);
    const Shape input = graph::input_shapes(pool, shapes_).at(0), output = shapes_.at(pool.name);
    return input.is_fixed() && output.is_fixed() ? input.elements() / std::max<int64_t>(output.elements(), 1) : 0;
  }

  std::vector<const graph::Layer*> found_through(const Limit::Match& match) const {
    std::vector<const graph::Layer*> layers;
    for (const graph::Layer& layer : model_.layers) {
      const auto found = config_.limit.find(layer.name, layer.class_name);
      if (found && found->entry == match.entry) layers.push_back(&layer);
    }
    return layers;
  }

  // A list that a pattern gives to a convolution and its normalization alike is the convolution's.
  bool owns_list(const graph::Layer& layer, const Limit::Match& match) const {
    if (!match.by_pattern || match.entry->elements.empty()) return true;
    const std::string_view layout = list_layout(layer.class_name);
    const auto layers = found_through(match);
    return std::all_of(layers.begin(), layers.end(), [&](const graph::Layer* other) {
      return !takes_quantizers(*other) || list_layout(other->class_name) == layout;
    });
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
  std::map<std::string, Shape> shapes_;        // of the model; empty until a global pool asks
  std::optional<std::string> last_recurrent_, last_pointwise_;
  bool some_filters_are_tuned_ = false;
  double network_filters_ = 1.0;
};

}  // namespace

TrialPlan walk_choices(const graph::Model& model, const RunConfig& config, Chooser choose) {
  return Walk(model, config, std::move(choose)).run();
}

}  // namespace nibble::autoq
