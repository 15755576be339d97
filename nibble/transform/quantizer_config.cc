#include "nibble/transform/quantizer_config.h"

#include <algorithm>
#include <array>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/quant/quantizer.h"

namespace nibble::transform {
namespace {

constexpr std::array kConversions = {
    Conversion{"Dense", "QDense", Family::kKernel},
    Conversion{"Conv1D", "QConv1D", Family::kKernel},
    Conversion{"Conv2D", "QConv2D", Family::kKernel},
    Conversion{"Conv2DTranspose", "QConv2DTranspose", Family::kKernel},
    Conversion{"SeparableConv1D", "QSeparableConv1D", Family::kSeparable},
    Conversion{"SeparableConv2D", "QSeparableConv2D", Family::kSeparable},
    Conversion{"DepthwiseConv2D", "QDepthwiseConv2D", Family::kDepthwise},
    Conversion{"SimpleRNN", "QSimpleRNN", Family::kRecurrent},
    Conversion{"LSTM", "QLSTM", Family::kRecurrent},
    Conversion{"GRU", "QGRU", Family::kRecurrent},
    Conversion{"Bidirectional", "QBidirectional", Family::kBidirectional},
    Conversion{"Activation", "QActivation", Family::kActivation},
    Conversion{"ReLU", "QActivation", Family::kRelu},
    Conversion{"relu", "QActivation", Family::kRelu},
    Conversion{"LeakyReLU", "QActivation", Family::kRelu},
    Conversion{"BatchNormalization", "QBatchNormalization", Family::kBatchNormalization},
    Conversion{"AveragePooling2D", "QAveragePooling2D", Family::kPooling},
    Conversion{"GlobalAveragePooling2D", "QGlobalAveragePooling2D", Family::kPooling},
};

// Classes that an entry may name although layers become them by folding or preference only.
constexpr std::array kOtherClasses = {
    Conversion{"Activation", "QAdaptiveActivation", Family::kActivation},
    Conversion{"Conv2D", "QConv2DBatchnorm", Family::kFoldedKernel},
    Conversion{"DepthwiseConv2D", "QDepthwiseConv2DBatchnorm", Family::kFoldedDepthwise},
};

std::vector<std::string> allowed_keys(Family family) {
  switch (family) {
    case Family::kKernel:
      return {"kernel_quantizer", "bias_quantizer", "activation_quantizer"};
    case Family::kDepthwise:
      return {"depthwise_quantizer", "bias_quantizer", "activation_quantizer"};
    case Family::kSeparable:
      return {"depthwise_quantizer", "pointwise_quantizer", "kernel_quantizer", "bias_quantizer",
              "activation_quantizer"};
    case Family::kRecurrent:
    case Family::kBidirectional:
      return {"kernel_quantizer", "recurrent_quantizer",  "bias_quantizer",
              "state_quantizer",  "activation_quantizer", "recurrent_activation_quantizer"};
    case Family::kBatchNormalization:
      return {"gamma_quantizer", "beta_quantizer", "mean_quantizer", "variance_quantizer", "inverse_quantizer"};
    case Family::kPooling:
      return {"average_quantizer", "activation_quantizer"};
    case Family::kFoldedKernel:
      return {"kernel_quantizer", "bias_quantizer", "activation_quantizer", "folding_mode", "ema_freeze_delay"};
    case Family::kFoldedDepthwise:
      return {"depthwise_quantizer", "bias_quantizer", "activation_quantizer", "folding_mode", "ema_freeze_delay"};
    case Family::kActivation:
    case Family::kRelu:
      return {"relu", "leakyrelu", "tanh", "sigmoid", "linear", "softmax", "hard_sigmoid"};
  }
  return {};
}

bool allows(Family family, const std::string& key) {
  const auto keys = allowed_keys(family);
  if (std::find(keys.begin(), keys.end(), key) != keys.end()) return true;
  const bool by_function = family == Family::kActivation || family == Family::kRelu;
  return by_function && quant::is_activation_function(key);
}

void check_entry(const std::string& name, const nlohmann::json& entry, Family family) {
  const bool by_function = family == Family::kActivation || family == Family::kRelu;
  if (entry.is_null() || (entry.is_string() && by_function)) return;
  if (!entry.is_object()) {
    throw InvalidArgument(
        "[model_quantize] the entry '{}' is {}; it must be an object such as {{\"{}\": \"quantized_bits(4,0,1)\"}}.",
        name, entry.dump(), allowed_keys(family).front());
  }
  for (const auto& [key, value] : entry.items()) {
    if (!allows(family, key)) {
      throw InvalidArgument("[model_quantize] the entry '{}' has the key '{}', which has no effect there. {}", name,
                            key, suggest(key, allowed_keys(family)));
    }
    if (key == "ema_freeze_delay") {
      if (value.is_null() || value.is_number_integer()) continue;
      throw InvalidArgument(
          "[model_quantize] ema_freeze_delay of the entry '{}' is {}; it is a number of training steps, or null.", name,
          value.dump());
    }
    if (!value.is_null() && !value.is_string() && !value.is_object()) {
      throw InvalidArgument(
          "[model_quantize] '{}' of the entry '{}' is {}; give a quantizer as text, such as "
          "\"quantized_bits(4,0,1)\", or as an object with class_name and config.",
          key, name, value.dump());
    }
  }
}

const Conversion* find_target(std::string_view q_class) {
  const auto is_it = [&](const Conversion& row) { return row.to == q_class; };
  const auto found = std::find_if(kConversions.begin(), kConversions.end(), is_it);
  if (found != kConversions.end()) return &*found;
  const auto other = std::find_if(kOtherClasses.begin(), kOtherClasses.end(), is_it);
  return other == kOtherClasses.end() ? nullptr : &*other;
}

// The keys that the entry of a layer may hold.
Family family_of(const graph::Layer& layer, Family plain, bool folding) {
  if (folding && layer.class_name == "Conv2D") return Family::kFoldedKernel;
  if (folding && layer.class_name == "DepthwiseConv2D") return Family::kFoldedDepthwise;
  return plain;
}

std::vector<std::string> known_entries(std::span<const graph::Layer> layers) {
  std::vector<std::string> names;
  for (const graph::Layer& layer : layers) names.push_back(layer.name);
  for (const Conversion& row : kConversions) {
    if (std::find(names.begin(), names.end(), row.to) == names.end()) names.emplace_back(row.to);
  }
  return names;
}

}  // namespace

const Conversion* find_conversion(std::string_view class_name) {
  const auto found = std::find_if(kConversions.begin(), kConversions.end(),
                                  [&](const Conversion& row) { return row.from == class_name; });
  return found == kConversions.end() ? nullptr : &*found;
}

const nlohmann::json* find_entry(const nlohmann::json& config, const std::string& name, std::string_view q_class) {
  auto found = config.find(name);
  if (found == config.end()) found = config.find(std::string(q_class));
  return found == config.end() || found->is_null() ? nullptr : &*found;
}

const nlohmann::json* find_value(const nlohmann::json& entry, std::string_view key, const std::string& layer) {
  if (!entry.is_object()) {
    throw InvalidArgument("[model_quantize] the entry for layer '{}' is {}; it must be an object that holds '{}'.",
                          layer, entry.dump(), key);
  }
  const auto found = entry.find(std::string(key));
  return found == entry.end() || found->is_null() ? nullptr : &*found;
}

void check_config(const nlohmann::json& config, std::span<const graph::Layer> layers, bool folding) {
  for (const auto& [name, entry] : config.items()) {
    const auto layer = std::find_if(layers.begin(), layers.end(), [&](const auto& l) { return l.name == name; });
    if (layer != layers.end()) {
      const Conversion* conversion = find_conversion(layer->class_name);
      // A layer that is already quantized, or has nothing to quantize, keeps its class: QKeras' rule.
      if (conversion != nullptr) check_entry(name, entry, family_of(*layer, conversion->family, folding));
    } else if (const Conversion* target = find_target(name)) {
      check_entry(name, entry, target->family);
    } else {
      throw InvalidArgument(
          "[model_quantize] the entry '{}' is neither a layer of the model nor a class that layers are quantized to. "
          "{}",
          name, suggest(name, known_entries(layers)));
    }
  }
}

}  // namespace nibble::transform
