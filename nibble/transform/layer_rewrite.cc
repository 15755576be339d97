#include "nibble/transform/layer_rewrite.h"

#include <algorithm>

#include "nibble/core/error.h"
#include "nibble/transform/quantizer_config.h"

namespace nibble::transform {
namespace {

using nlohmann::json;

json or_none(const json* value) { return value == nullptr ? json(nullptr) : *value; }

bool is_empty_text(const json& value) { return value.is_string() && value.get_ref<const std::string&>().empty(); }

// The quantizer that stands for a plain function at `bits` bits, or null where there is none.
json automatic_activation(const std::string& function, int bits) {
  for (const char* name : {"relu", "tanh", "sigmoid"}) {
    if (function == name) return fmt::format("quantized_{}({})", name, bits);
  }
  return nullptr;
}

void plan_activation_argument(const LayerFacts& layer, const json& entry, const ModelQuantizeOptions& options,
                              LayerEdit& edit) {
  const json* given = find_value(entry, "activation_quantizer", layer.name);
  json chosen = given != nullptr && !is_empty_text(*given)
                    ? *given
                    : automatic_activation(layer.activation, options.activation_bits);
  if (!chosen.is_null()) edit.set["activation"] = std::move(chosen);
}

void plan_bias(const LayerFacts& layer, const json& entry, LayerEdit& edit) {
  edit.set["bias_quantizer"] = layer.use_bias ? or_none(find_value(entry, "bias_quantizer", layer.name)) : json();
}

std::optional<LayerEdit> plan_kernel(const LayerFacts& layer, std::string_view to, std::string_view decider,
                                     const json& entry, const ModelQuantizeOptions& options) {
  const json* quantizer = find_value(entry, decider, layer.name);
  if (quantizer == nullptr) return std::nullopt;
  LayerEdit edit{.class_name = std::string(to), .set = {{std::string(decider), *quantizer}}, .erase = {}};
  plan_bias(layer, entry, edit);
  plan_activation_argument(layer, entry, options, edit);
  return edit;
}

// A convolution that takes in its batch normalization: quantizers from the entry of the folded class, else from that of
// the plain one.
std::optional<LayerEdit> plan_folded(const LayerFacts& layer, std::string_view plain, std::string_view decider,
                                     const json& config, const ModelQuantizeOptions& options) {
  const std::string folded = std::string(plain) + "Batchnorm";
  const json* own = find_entry(config, layer.name, folded);
  const bool own_decides = own != nullptr && find_value(*own, decider, layer.name) != nullptr;
  const json* entry = own_decides ? own : find_entry(config, layer.name, plain);
  if (entry == nullptr) return std::nullopt;
  LayerFacts with_bias = layer;
  with_bias.use_bias = true;
  auto edit = plan_kernel(with_bias, folded, decider, *entry, options);
  if (!edit) return std::nullopt;
  const json* mode = own == nullptr ? nullptr : find_value(*own, "folding_mode", layer.name);
  const json* delay = own == nullptr ? nullptr : find_value(*own, "ema_freeze_delay", layer.name);
  edit->set["use_bias"] = true;
  edit->set["folding_mode"] = mode == nullptr ? json("ema_stats_folding") : *mode;
  edit->set["ema_freeze_delay"] = delay == nullptr || *delay == 0 ? json() : *delay;
  return edit;
}

// The reference sets a kernel_quantizer, which separable layers do not have; nibble sets the
// two that they have.
std::optional<LayerEdit> plan_separable(const LayerFacts& layer, std::string_view to, const json& entry,
                                        const ModelQuantizeOptions& options) {
  if (options.compat == Compatibility::kQkeras) return plan_kernel(layer, to, "kernel_quantizer", entry, options);
  const json* both = find_value(entry, "kernel_quantizer", layer.name);
  const json* depthwise = find_value(entry, "depthwise_quantizer", layer.name);
  const json* pointwise = find_value(entry, "pointwise_quantizer", layer.name);
  if (depthwise == nullptr) depthwise = both;
  if (pointwise == nullptr) pointwise = both;
  if (depthwise == nullptr && pointwise == nullptr) return std::nullopt;
  LayerEdit edit{.class_name = std::string(to),
                 .set = {{"depthwise_quantizer", or_none(depthwise)}, {"pointwise_quantizer", or_none(pointwise)}},
                 .erase = {}};
  plan_bias(layer, entry, edit);
  plan_activation_argument(layer, entry, options, edit);
  return edit;
}

std::optional<LayerEdit> plan_recurrent(const LayerFacts& layer, std::string_view to, const json& entry,
                                        const ModelQuantizeOptions& options) {
  auto edit = plan_kernel(layer, to, "kernel_quantizer", entry, options);
  if (!edit) return std::nullopt;
  for (const char* key : {"recurrent_quantizer", "state_quantizer"}) {
    edit->set[key] = or_none(find_value(entry, key, layer.name));
  }
  if (const json* gate = find_value(entry, "recurrent_activation_quantizer", layer.name)) {
    edit->set["recurrent_activation"] = *gate;
  }
  return edit;
}

// "quantized_relu(8)" -> total_bits 8, activation "quantized_relu".
LayerEdit adaptive_activation(const LayerFacts& layer, const json& quantizer) {
  const std::string text = quantizer.is_string() ? quantizer.get<std::string>() : quantizer.dump();
  std::string digits;
  std::copy_if(text.begin(), text.end(), std::back_inserter(digits), [](char c) { return c >= '0' && c <= '9'; });
  if (text.find(',') != std::string::npos || digits.empty() || digits.size() > 3) {
    throw InvalidArgument(
        "[model_quantize] layer '{}': QAdaptiveActivation finds the integer bits by itself, so its quantizer takes the "
        "number of bits alone, as in quantized_relu(8); it was given {}.",
        layer.name, text);
  }
  return {.class_name = "QAdaptiveActivation",
          .set = {{"activation", text.substr(0, text.find('('))}, {"total_bits", std::stoi(digits)}},
          .erase = {}};
}

// The quantizer that an entry holds for a function; null if the layer shall stay. An empty text
// asks for the automatic one.
json quantizer_of_function(const json& entry, const std::string& function) {
  if (!entry.is_object() || entry.contains("class_name")) return entry;
  const auto found = entry.find(function);
  return found == entry.end() || is_empty_text(*found) ? json() : *found;
}

std::optional<LayerEdit> plan_activation(const LayerFacts& layer, const json& config,
                                         const ModelQuantizeOptions& options) {
  bool adaptive = options.prefer_qadaptiveactivation;
  const json* entry = find_entry(config, layer.name, adaptive ? "QAdaptiveActivation" : "QActivation");
  if (entry == nullptr) {
    adaptive = !adaptive;
    entry = find_entry(config, layer.name, adaptive ? "QAdaptiveActivation" : "QActivation");
  }
  if (entry == nullptr) return std::nullopt;
  json quantizer = quantizer_of_function(*entry, layer.activation);
  if (quantizer.is_null()) return std::nullopt;
  if (is_empty_text(quantizer)) {
    quantizer = automatic_activation(layer.activation, options.activation_bits);
    LayerEdit edit{.class_name = "QActivation", .set = {}, .erase = {}};
    if (!quantizer.is_null()) edit.set["activation"] = quantizer;
    return edit;
  }
  if (adaptive) return adaptive_activation(layer, quantizer);
  return LayerEdit{.class_name = "QActivation", .set = {{"activation", quantizer}}, .erase = {}};
}

std::optional<LayerEdit> plan_relu(const LayerFacts& layer, const json& config, const ModelQuantizeOptions& options) {
  if (layer.class_name == "LeakyReLU" && options.compat == Compatibility::kQkeras) {
    throw Unsupported(
        "[model_quantize] layer '{}': QKeras fails on LeakyReLU layers; without its compatibility nibble "
        "converts them by the key leakyrelu.",
        layer.name);
  }
  const json* entry = find_entry(config, layer.name, "QActivation");
  if (entry == nullptr) return std::nullopt;
  json quantizer = quantizer_of_function(*entry, layer.negative_slope > 0 ? "leakyrelu" : "relu");
  if (quantizer.is_null()) return std::nullopt;
  if (is_empty_text(quantizer)) quantizer = automatic_activation("relu", options.activation_bits);
  return LayerEdit{.class_name = "QActivation",
                   .set = {{"activation", quantizer}},
                   .erase = {"max_value", "negative_slope", "threshold", "alpha"}};
}

std::optional<LayerEdit> plan_batch_normalization(const LayerFacts& layer, std::string_view to, const json& config,
                                                  const ModelQuantizeOptions& options) {
  const json* entry = find_entry(config, layer.name, to);
  if (entry == nullptr) return std::nullopt;
  LayerEdit edit{.class_name = std::string(to), .set = {}, .erase = {}};
  for (const char* key : {"gamma_quantizer", "beta_quantizer", "mean_quantizer", "variance_quantizer"}) {
    edit.set[key] = or_none(find_value(*entry, key, layer.name));
  }
  if (options.compat == Compatibility::kQkeras) return edit;
  // The reference drops the inverse quantizer on the way.
  if (const json* inverse = find_value(*entry, "inverse_quantizer", layer.name)) {
    if (!edit.set["gamma_quantizer"].is_null() || !edit.set["variance_quantizer"].is_null()) {
      throw InvalidArgument(
          "[model_quantize] layer '{}': inverse_quantizer quantizes gamma / sqrt(variance) as one number, so "
          "gamma_quantizer and variance_quantizer must be absent or null beside it. Drop either it or those two.",
          layer.name);
    }
    edit.set["inverse_quantizer"] = *inverse;
  }
  return edit;
}

LayerFacts facts_of(const json& layer) {
  const json& config = layer.at("config");
  LayerFacts facts{.name = config.value("name", layer.value("name", std::string())),
                   .class_name = layer.at("class_name").get<std::string>(),
                   .use_bias = config.value("use_bias", true),
                   .activation = "",
                   .negative_slope = 0,
                   .folds = false};
  if (const auto it = config.find("activation"); it != config.end() && it->is_string()) facts.activation = *it;
  for (const char* key : {"negative_slope", "alpha"}) {
    if (const auto it = config.find(key); it != config.end() && it->is_number()) facts.negative_slope = *it;
  }
  return facts;
}

void apply(const LayerEdit& edit, json& layer) {
  layer["class_name"] = edit.class_name;
  json& config = layer["config"];
  for (const auto& [key, value] : edit.set) config[key] = value;
  for (const std::string& key : edit.erase) config.erase(key);
}

void rewrite_inner_layers(json& layer, const json& config, const ModelQuantizeOptions& options) {
  const std::string outer = facts_of(layer).name;
  for (const char* key : {"layer", "backward_layer"}) {
    const auto inner = layer["config"].find(key);
    if (inner == layer["config"].end() || !inner->is_object()) continue;
    if (const auto edit = plan_inner_layer(outer, facts_of(*inner), config, options)) apply(*edit, *inner);
  }
}

}  // namespace

std::optional<LayerEdit> plan_layer(const LayerFacts& layer, const json& config, const ModelQuantizeOptions& options) {
  const Conversion* conversion = find_conversion(layer.class_name);
  if (conversion == nullptr) return std::nullopt;
  const std::string_view to = conversion->to;
  switch (conversion->family) {
    case Family::kActivation:
      return plan_activation(layer, config, options);
    case Family::kRelu:
      return plan_relu(layer, config, options);
    case Family::kBatchNormalization:
      return plan_batch_normalization(layer, to, config, options);
    case Family::kBidirectional:
      return LayerEdit{.class_name = std::string(to), .set = {}, .erase = {}};
    default:
      break;
  }
  if (layer.folds) {
    const bool is_depthwise = conversion->family == Family::kDepthwise;
    return plan_folded(layer, to, is_depthwise ? "depthwise_quantizer" : "kernel_quantizer", config, options);
  }
  const json* entry = find_entry(config, layer.name, to);
  if (entry == nullptr) return std::nullopt;
  switch (conversion->family) {
    case Family::kDepthwise:
      return plan_kernel(layer, to, "depthwise_quantizer", *entry, options);
    case Family::kSeparable:
      return plan_separable(layer, to, *entry, options);
    case Family::kRecurrent:
      return plan_recurrent(layer, to, *entry, options);
    case Family::kPooling: {
      auto edit = plan_kernel(layer, to, "average_quantizer", *entry, options);
      if (edit) edit->set.erase("bias_quantizer");
      return edit;
    }
    default:
      return plan_kernel(layer, to, "kernel_quantizer", *entry, options);
  }
}

std::optional<LayerEdit> plan_inner_layer(const std::string& outer, const LayerFacts& inner, const json& config,
                                          const ModelQuantizeOptions& options) {
  const json* entry = find_entry(config, outer, "QBidirectional");
  const Conversion* conversion = find_conversion(inner.class_name);
  if (entry == nullptr || conversion == nullptr || conversion->family != Family::kRecurrent) return std::nullopt;
  return plan_recurrent(inner, conversion->to, *entry, options);
}

void rewrite_layer_json(json& layer, const json& config, const ModelQuantizeOptions& options) {
  const auto edit = plan_layer(facts_of(layer), config, options);
  if (!edit) return;
  if (edit->class_name == "QBidirectional") rewrite_inner_layers(layer, config, options);
  apply(*edit, layer);
}

}  // namespace nibble::transform
