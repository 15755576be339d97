#include "nibble/transform/qat/rewrites.h"

#include <algorithm>

#include "nibble/core/error.h"
#include "nibble/graph/layer_schema.h"
#include "nibble/transform/batch_norm_folding.h"
#include "nibble/transform/folded_model.h"
#include "nibble/transform/ptq/fold_batch_norms.h"

namespace nibble::qat {
namespace {

using graph::Attribute;
using graph::Layer;
using Ints = std::vector<int64_t>;

// Those attributes of a layer that another class takes too.
std::map<std::string, Attribute> shared_attributes(const Layer& layer, const char* class_name) {
  std::map<std::string, Attribute> shared;
  const graph::LayerSchema& schema = *graph::find_schema(class_name);
  for (const auto& [name, value] : layer.attributes) {
    if (schema.find(name) != nullptr) shared.insert({name, value});
  }
  return shared;
}

bool is_separable(const Layer& layer) {
  return layer.class_name == "SeparableConv2D" || layer.class_name == "SeparableConv1D";
}

struct Separated {
  std::vector<Layer> layers;  // what stands in the place of one
  bool has_squeeze = false;
};

Layer depthwise_part(const Layer& layer) {
  auto attributes = shared_attributes(layer, "DepthwiseConv2D");
  attributes.insert_or_assign("activation", "linear");
  attributes.insert_or_assign("use_bias", false);
  if (layer.class_name == "SeparableConv1D") {
    attributes.insert_or_assign("kernel_size", Ints{1, layer.get_ints("kernel_size")[0]});
    attributes.insert_or_assign("strides", Ints{layer.get_ints("strides")[0], layer.get_ints("strides")[0]});
    attributes.insert_or_assign("dilation_rate", Ints{1, layer.get_ints("dilation_rate")[0]});
  }
  Layer part = graph::make_layer("DepthwiseConv2D", layer.name + "_depthwise", std::move(attributes));
  part.trainable = layer.trainable;
  return part;
}

Layer pointwise_part(const Layer& layer, std::string name) {
  std::map<std::string, Attribute> attributes = {{"filters", layer.get_int("filters")},
                                                 {"kernel_size", Ints{1, 1}},
                                                 {"activation", layer.attributes.at("activation")},
                                                 {"use_bias", layer.get_bool("use_bias")},
                                                 {"kernel_initializer", layer.attributes.at("pointwise_initializer")},
                                                 {"bias_initializer", layer.attributes.at("bias_initializer")}};
  Layer part = graph::make_layer("Conv2D", std::move(name), std::move(attributes));
  part.trainable = layer.trainable;
  return part;
}

void split_weights(const Layer& layer, Layer& depthwise, Layer& pointwise) {
  if (layer.weights.empty()) return;
  const auto image = [](const Tensor& kernel) {
    if (kernel.shape().rank() == 4) return kernel;
    const Shape& s = kernel.shape();
    return kernel.reshaped(Shape{1, s[0], s[1], s[2]});
  };
  depthwise.weights = {{"depthwise_kernel", image(layer.find_weight("depthwise_kernel")->value)}};
  pointwise.weights = {{"kernel", image(layer.find_weight("pointwise_kernel")->value)}};
  if (const graph::Weight* bias = layer.find_weight("bias")) pointwise.weights.push_back(*bias);
}

Layer reshape(const Layer& layer, std::string name, Ints target) {
  Layer result = graph::make_layer("Reshape", std::move(name), {{"target_shape", std::move(target)}});
  result.trainable = layer.trainable;
  return result;
}

void check_sequence(const Layer& layer, const Shape& input) {
  if (layer.get_string("padding") == "causal" || !input.is_fixed()) {
    throw Unsupported(
        "[quantize] {}: it can be quantized with padding valid or same and a fixed number of steps only; its padding "
        "is "
        "{} and its input {}.",
        graph::described(layer), layer.get_string("padding"), input.str());
  }
}

Separated separate(const Layer& layer, const Shape& input, const Shape& output) {
  const bool is_sequence = layer.class_name == "SeparableConv1D";
  if (is_sequence) check_sequence(layer, input);
  Separated result;
  Layer depthwise = depthwise_part(layer);
  Layer pointwise = pointwise_part(layer, is_sequence ? layer.name + "_pointwise" : layer.name);
  split_weights(layer, depthwise, pointwise);
  if (!is_sequence) {
    depthwise.inputs = layer.inputs;
    pointwise.inputs = {depthwise.name};
    result.layers = {std::move(depthwise), std::move(pointwise)};
    return result;
  }
  Layer expand = reshape(layer, layer.name + "_expand", {1, input[0], input[1]});
  Layer squeeze = reshape(layer, layer.name, {output[0], output[1]});
  expand.inputs = layer.inputs;
  depthwise.inputs = {expand.name};
  pointwise.inputs = {depthwise.name};
  squeeze.inputs = {pointwise.name};
  result.layers = {std::move(expand), std::move(depthwise), std::move(pointwise), std::move(squeeze)};
  result.has_squeeze = true;
  return result;
}

Layer merged_layer(const Layer& layer, const Layer& batch_norm, BatchNormMode mode) {
  const std::string class_name = "Q" + layer.class_name + "Batchnorm";
  auto attributes = shared_attributes(layer, class_name.c_str());
  attributes.insert_or_assign("use_bias", true);
  attributes.insert_or_assign("folding_mode",
                              mode == BatchNormMode::kFoldBatch ? "batch_stats_folding" : "ema_stats_folding");
  Layer merged = graph::make_layer(class_name, layer.name, std::move(attributes));
  merged.inputs = layer.inputs;
  merged.trainable = layer.trainable;
  merged.weights = layer.weights;
  transform::take_in_batch_norm(merged, batch_norm);
  return merged;
}

// A layer whose weights are to be quantized, and a batch normalization of which nobody has said anything else.
bool may_merge(const AnnotatedModel& annotated, const Layer& layer, const Layer& batch_norm) {
  const auto of_layer = annotated.layers.find(layer.name), of_norm = annotated.layers.find(batch_norm.name);
  if (of_layer == annotated.layers.end() || of_norm == annotated.layers.end()) return false;
  if (of_norm->second != nullptr || layer.quantization || batch_norm.quantization) return false;
  return of_layer->second == nullptr || !of_layer->second->quantization(layer).weights.empty();
}

constexpr std::string_view kFoldedSuffix = "Batchnorm";

Layer unfolded(const Layer& layer) {
  const std::string class_name = layer.class_name.substr(1, layer.class_name.size() - 1 - kFoldedSuffix.size());
  auto attributes = shared_attributes(layer, class_name.c_str());
  attributes.insert_or_assign("use_bias", true);
  Layer plain = graph::make_layer(class_name, layer.name, std::move(attributes));
  plain.inputs = layer.inputs;
  plain.trainable = layer.trainable;
  plain.quantization = layer.quantization;
  transform::FoldedWeights folded = transform::folded_weights(layer);
  const bool is_depthwise = layer.find_weight("depthwise_kernel") != nullptr;
  plain.weights = {{is_depthwise ? "depthwise_kernel" : "kernel", std::move(folded.kernel)},
                   {"bias", std::move(folded.bias)}};
  // The variables of the quantizers come last.
  for (const graph::QuantizedPoint& point : graph::quantized_points(layer)) {
    for (const graph::Weight& weight : layer.weights) {
      if (weight.name.starts_with(point.name + "_") && plain.find_weight(weight.name) == nullptr) {
        plain.weights.push_back(weight);
      }
    }
  }
  return plain;
}

}  // namespace

graph::Model unfold_batch_norms(const graph::Model& model) {
  graph::Model result = model;
  for (Layer& layer : result.layers) {
    if (layer.quantization && layer.class_name.ends_with(kFoldedSuffix)) layer = unfolded(layer);
  }
  graph::validate(result);
  return result;
}

std::set<std::string> expand_separable(AnnotatedModel& annotated) {
  std::set<std::string> squeezes;
  const auto shapes = graph::infer_shapes(annotated.model);
  std::vector<Layer> layers;
  for (Layer& layer : annotated.model.layers) {
    const auto found = annotated.layers.find(layer.name);
    if (!is_separable(layer) || found == annotated.layers.end() || found->second != nullptr) {
      layers.push_back(std::move(layer));
      continue;
    }
    Separated parts = separate(layer, shapes.at(layer.inputs[0]), shapes.at(layer.name));
    if (parts.has_squeeze) squeezes.insert(layer.name);
    for (Layer& part : parts.layers) {
      annotated.layers[part.name] = nullptr;
      layers.push_back(std::move(part));
    }
  }
  annotated.model.layers = std::move(layers);
  return squeezes;
}

void merge_batch_norms(AnnotatedModel& annotated, BatchNormMode mode) {
  if (mode == BatchNormMode::kFloat) return;
  if (mode == BatchNormMode::kFold) {
    annotated.model = ptq::fold_batch_norms(annotated.model, ptq::FoldDivisor::kStandardDeviation,
                                            [&](const Layer& layer, const Layer& batch_norm) {
                                              return may_merge(annotated, layer, batch_norm);
                                            })
                          .model;
  } else {
    for (const transform::FoldablePair& pair : transform::foldable_pairs(annotated.model)) {
      Layer& layer = annotated.model.layer(pair.layer);
      const Layer& batch_norm = annotated.model.layer(pair.batch_norm);
      if (!may_merge(annotated, layer, batch_norm)) continue;
      layer = merged_layer(layer, batch_norm, mode);
      transform::bypass_layer(annotated.model, pair.batch_norm);
    }
  }
  std::erase_if(annotated.layers,
                [&](const auto& entry) { return annotated.model.find_layer(entry.first) == nullptr; });
}

}  // namespace nibble::qat
