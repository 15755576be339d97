#include "nibble/transform/ptq/equalize_layers.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "nibble/quant/affine/rounding_and_scales.h"
#include "nibble/transform/ptq/kernel_layout.h"

namespace nibble::ptq {
namespace {

// f(s x) = s f(x) for s > 0, channel by channel.
bool is_homogeneous(const graph::Layer& layer) {
  constexpr std::array<std::string_view, 11> kClasses = {"MaxPooling1D",
                                                         "MaxPooling2D",
                                                         "AveragePooling1D",
                                                         "AveragePooling2D",
                                                         "GlobalAveragePooling1D",
                                                         "GlobalAveragePooling2D",
                                                         "GlobalMaxPooling2D",
                                                         "Flatten",
                                                         "Dropout",
                                                         "ZeroPadding2D",
                                                         "LeakyReLU"};
  if (std::find(kClasses.begin(), kClasses.end(), layer.class_name) != kClasses.end()) return true;
  if (layer.class_name == "ReLU") {
    return !layer.has("max_value") && (!layer.has("threshold") || layer.get_float("threshold") == 0.0);
  }
  if (layer.class_name != "Activation") return false;
  const std::string function = layer.activation_function();
  return function == "relu" || function == "linear" || function == "leaky_relu";
}

bool has_homogeneous_activation(const graph::Layer& layer) {
  const std::string function = layer.activation_function();
  return function == "relu" || function == "linear";
}

// The only reader of a layer; null if there are several, or the value leaves the model.
const graph::Layer* only_reader(const graph::Model& model, const std::string& name) {
  if (std::find(model.outputs.begin(), model.outputs.end(), name) != model.outputs.end()) return nullptr;
  const auto readers = model.consumers(name);
  return readers.size() == 1 ? &model.layer(readers[0]) : nullptr;
}

bool is_grouped(const graph::Layer& layer) { return layer.has("groups") && layer.get_int("groups") > 1; }

// A Dense that works on images is left alone, and so is a Flatten whose channels cannot be told.
const graph::Layer* second_of(const graph::Model& model, const graph::Layer& first) {
  if (!has_plain_kernel(first) || !has_homogeneous_activation(first)) return nullptr;
  const graph::Layer* reader = only_reader(model, first.name);
  while (reader != nullptr && is_homogeneous(*reader)) reader = only_reader(model, reader->name);
  if (reader == nullptr || !has_plain_kernel(*reader) || is_grouped(*reader)) return nullptr;
  return reader;
}

struct Sweep {
  double last_move = 0.0;  // largest |s - 1|
  double largest_factor = 1.0;
};

// divisors  multiplied by what the channels of `first` are divided by
void equalize_pair(graph::Layer& first, graph::Layer& second, Sweep& sweep, std::vector<double>& divisors) {
  Tensor &w1 = kernel_of(first), &w2 = kernel_of(second);
  graph::Weight* bias = first.find_weight("bias");
  std::vector<double> a(w1.data().begin(), w1.data().end()), b(w2.data().begin(), w2.data().end()), c;
  if (bias != nullptr) c.assign(bias->value.data().begin(), bias->value.data().end());
  const auto factors =
      affine::equalize(a, scale_layout(first, true), c, b, input_layout(second, output_channels(first)));
  const auto to_float = [](double v) { return static_cast<float>(v); };
  std::transform(a.begin(), a.end(), w1.data().begin(), to_float);
  std::transform(b.begin(), b.end(), w2.data().begin(), to_float);
  if (bias != nullptr) std::transform(c.begin(), c.end(), bias->value.data().begin(), to_float);
  divisors.resize(factors.size(), 1.0);
  std::transform(factors.begin(), factors.end(), divisors.begin(), divisors.begin(), std::multiplies<>());
  for (const double s : factors) {
    sweep.last_move = std::max(sweep.last_move, std::abs(s - 1.0));
    sweep.largest_factor = std::max({sweep.largest_factor, s, 1.0 / s});
  }
}

}  // namespace

std::vector<EqualizablePair> equalizable_pairs(const graph::Model& model) {
  std::vector<EqualizablePair> pairs;
  for (const graph::Layer& layer : model.layers) {
    const graph::Layer* second = second_of(model, layer);
    if (second != nullptr) pairs.push_back({layer.name, second->name});
  }
  return pairs;
}

Equalization equalize_layers(const graph::Model& model) {
  constexpr double kSettled = 1e-3;
  constexpr int kMostSweeps = 200;
  Equalization result{.model = model, .pairs = equalizable_pairs(model)};
  Sweep sweep{.last_move = 1.0};
  while (!result.pairs.empty() && sweep.last_move > kSettled && result.sweeps < kMostSweeps) {
    sweep.last_move = 0.0;
    for (const EqualizablePair& pair : result.pairs) {
      equalize_pair(result.model.layer(pair.first), result.model.layer(pair.second), sweep,
                    result.divisors[pair.first]);
    }
    if (result.sweeps++ == 0) result.largest_factor = sweep.largest_factor;
  }
  return result;
}

}  // namespace nibble::ptq
