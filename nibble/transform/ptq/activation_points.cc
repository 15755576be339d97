#include "nibble/transform/ptq/activation_points.h"

#include <algorithm>
#include <array>

#include "nibble/graph/layer_quantization.h"
#include "nibble/transform/ptq/kernel_layout.h"

namespace nibble::ptq {
namespace {

template <size_t N>
bool is_one_of(const graph::Layer& layer, const std::array<std::string_view, N>& classes) {
  return std::find(classes.begin(), classes.end(), layer.class_name) != classes.end();
}

bool is_softmax(const graph::Layer& layer) {
  return layer.class_name == "Softmax" ||
         (layer.class_name == "Activation" && layer.activation_function() == "softmax");
}

std::string own_activation(const graph::Layer& layer) {
  return layer.attributes.contains("activation") ? layer.activation_function() : "linear";
}

bool is_output(const graph::Model& model, const std::string& name) {
  return std::find(model.outputs.begin(), model.outputs.end(), name) != model.outputs.end();
}

// Everything that reads the value only moves it, or is a softmax.
bool is_result(const graph::Model& model, const graph::Layer& layer) {
  for (const std::string& name : model.consumers(layer.name)) {
    const graph::Layer& reader = model.layer(name);
    if (!is_softmax(reader) && !(moves_values(reader) && is_result(model, reader))) return false;
  }
  return true;
}

bool is_quantized_behind(const graph::Model& model, const graph::Layer& layer) {
  if (layer.inputs.empty() || is_output(model, layer.name)) return false;
  const auto readers = model.consumers(layer.name);
  if (readers.size() != 1 || own_activation(layer) != "linear") return false;
  // A program compares codes of one grid, which are their own quantizer's.
  if (layer.class_name == "Maximum" || layer.class_name == "Minimum") return false;
  const graph::Layer& reader = model.layer(readers[0]);
  return is_activation_layer(reader) || reader.class_name == "BatchNormalization";
}

std::string_view point_of(const graph::Layer& layer) {
  if (!has_kernel(layer)) return graph::kOutput;
  const std::string activation = own_activation(layer);
  if (activation == "softmax") return graph::kPreActivation;
  return activation == "linear" || activation == "relu" ? graph::kPostActivation : graph::kOutput;
}

}  // namespace

bool moves_values(const graph::Layer& layer) {
  constexpr std::array<std::string_view, 14> kMoves = {
      "MaxPooling1D", "MaxPooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "Flatten",       "Reshape",
      "Permute",      "Dropout",      "SpatialDropout1D",   "SpatialDropout2D",   "ZeroPadding1D", "ZeroPadding2D",
      "Cropping2D",   "UpSampling2D"};
  // Between the pixels of its input a bilinear one has values that no code stands for.
  if (layer.class_name == "UpSampling2D" && layer.get_string("interpolation") != "nearest") return false;
  return is_one_of(layer, kMoves);
}

bool feeds_embedding(const graph::Model& model, const std::string& layer) {
  const auto readers = model.consumers(layer);
  return std::any_of(readers.begin(), readers.end(), [&](const std::string& name) {
    const graph::Layer& reader = model.layer(name);
    return reader.class_name == "Embedding" || (moves_values(reader) && feeds_embedding(model, name));
  });
}

bool is_activation_layer(const graph::Layer& layer) {
  constexpr std::array<std::string_view, 6> kActivations = {"Activation", "ReLU",  "LeakyReLU",
                                                            "ELU",        "PReLU", "ThresholdedReLU"};
  return is_one_of(layer, kActivations) && !is_softmax(layer);
}

std::vector<ActivationPoint> activation_points(const graph::Model& model) {
  std::vector<ActivationPoint> points;
  for (const graph::Layer& layer : model.layers) {
    if (moves_values(layer) || is_softmax(layer) || is_quantized_behind(model, layer)) continue;
    if (layer.inputs.empty() && feeds_embedding(model, layer.name)) continue;
    points.push_back({layer.name, std::string(point_of(layer)), !layer.inputs.empty() && is_result(model, layer)});
  }
  return points;
}

}  // namespace nibble::ptq
