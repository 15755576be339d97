// tests/support/tfmot_file.h
// A small model as quantize_model() of TFMOT (0.7.2 and later) and Keras 2 save it, by hand, and the same model as
// nibble has it.
#pragma once

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "nibble/formats/keras/hdf5_file.h"
#include "nibble/formats/keras/zip_archive.h"
#include "nibble/graph/builder.h"

namespace nibble::testing {

// Pictures of 32 x 32 pixels in colour -> convolution, batch norm, ReLU -> 10 classes.
inline nlohmann::json tfmot_config() {
  return nlohmann::json::parse(R"json({
"class_name": "Functional", "keras_version": "2.9.0", "backend": "tensorflow",
"config": {"name": "tiny", "layers": [
  {"class_name": "InputLayer", "name": "input", "inbound_nodes": [],
   "config": {"batch_input_shape": [null, 32, 32, 3], "dtype": "float32", "sparse": false, "ragged": false,
              "name": "input"}},
  {"class_name": "QuantizeLayer", "name": "quantize_layer", "inbound_nodes": [[["input", 0, 0, {}]]],
   "config": {"name": "quantize_layer", "trainable": true, "dtype": "float32", "quantizer":
     {"class_name": "AllValuesQuantizer",
      "config": {"num_bits": 8, "per_axis": false, "symmetric": false, "narrow_range": false}}}},
  {"class_name": "QuantizeWrapperV2", "name": "quant_conv", "inbound_nodes": [[["quantize_layer", 0, 0, {}]]],
   "config": {"name": "quant_conv", "trainable": true, "dtype": "float32",
     "layer": {"class_name": "Conv2D", "config": {
       "name": "conv", "trainable": true, "dtype": "float32", "filters": 4, "kernel_size": [3, 3], "strides": [4, 4],
       "padding": "same", "data_format": "channels_last", "dilation_rate": [1, 1], "groups": 1,
       "activation": {"class_name": "QuantizeAwareActivation",
                      "config": {"activation": {"class_name": "NoOpActivation", "config": {}}}},
       "use_bias": true, "kernel_regularizer": null, "activity_regularizer": null}},
     "quantize_config": {"class_name": "Default8BitConvQuantizeConfig", "config":
       {"weight_attrs": ["kernel"], "activation_attrs": ["activation"], "quantize_output": false}}}},
  {"class_name": "QuantizeWrapperV2", "name": "quant_bn", "inbound_nodes": [[["quant_conv", 0, 0, {}]]],
   "config": {"name": "quant_bn", "trainable": true, "dtype": "float32",
     "layer": {"class_name": "BatchNormalization", "config": {
       "name": "bn", "trainable": true, "dtype": "float32", "axis": [3], "momentum": 0.99, "epsilon": 0.001,
       "center": true, "scale": true}},
     "quantize_config": {"class_name": "NoOpQuantizeConfig", "config": {}}}},
  {"class_name": "QuantizeWrapperV2", "name": "quant_act", "inbound_nodes": [[["quant_bn", 0, 0, {}]]],
   "config": {"name": "quant_act", "trainable": true, "dtype": "float32",
     "layer": {"class_name": "Activation", "config": {
       "name": "act", "trainable": true, "dtype": "float32", "activation": "relu"}},
     "quantize_config": {"class_name": "Default8BitActivationQuantizeConfig", "config": {"quantize_output": true}}}},
  {"class_name": "QuantizeWrapperV2", "name": "quant_flatten", "inbound_nodes": [[["quant_act", 0, 0, {}]]],
   "config": {"name": "quant_flatten", "trainable": true, "dtype": "float32",
     "layer": {"class_name": "Flatten", "config": {
       "name": "flatten", "trainable": true, "dtype": "float32", "data_format": "channels_last"}},
     "quantize_config": {"class_name": "Default8BitQuantizeConfig", "config":
       {"weight_attrs": [], "activation_attrs": [], "quantize_output": false}}}},
  {"class_name": "QuantizeWrapperV2", "name": "quant_dense", "inbound_nodes": [[["quant_flatten", 0, 0, {}]]],
   "config": {"name": "quant_dense", "trainable": true, "dtype": "float32",
     "layer": {"class_name": "Dense", "config": {
       "name": "dense", "trainable": true, "dtype": "float32", "units": 10, "use_bias": true,
       "activation": {"class_name": "QuantizeAwareActivation", "config": {"activation": "softmax"}}}},
     "quantize_config": {"class_name": "Default8BitQuantizeConfig", "config":
       {"weight_attrs": ["kernel"], "activation_attrs": ["activation"], "quantize_output": false}}}}],
  "input_layers": [["input", 0, 0]], "output_layers": [["quant_dense", 0, 0]]}})json");
}

// The ranges that a training would leave: all of a kernel, and some of the activations.
inline std::vector<affine::Range> ranges_of_kernel(const Tensor& kernel, bool per_axis) {
  const int64_t channels = per_axis ? kernel.shape()[-1] : 1;
  std::vector<affine::Range> ranges(static_cast<size_t>(channels));
  for (int64_t i = 0; i < kernel.size(); ++i) {
    affine::Range& range = ranges[static_cast<size_t>(i % channels)];
    range.max = std::max(range.max, std::abs(kernel[i]));
    range.min = -range.max;
  }
  return ranges;
}

// The same model in nibble's own form.
inline graph::Model tfmot_twin() {
  using namespace graph::build;
  using graph::AffineKind;
  auto in = Input({.shape = {32, 32, 3}, .name = "input"});
  auto x = Conv2D({.filters = 4, .kernel_size = {3, 3}, .strides = {4, 4}, .padding = "same", .name = "conv"})(in);
  x = Activation({.activation = "relu", .name = "act"})(BatchNormalization({.name = "bn"})(x));
  x = Dense({.units = 10, .activation = "softmax", .name = "dense"})(Flatten({.name = "flatten"})(x));
  graph::Model model = build_model({in}, {x}, "tiny");
  graph::initialize_weights(model, 4);
  for (const char* name : {"gamma", "beta", "moving_mean", "moving_variance"}) {
    Tensor& value = model.layer("bn").find_weight(name)->value;
    for (int64_t i = 0; i < value.size(); ++i) value[i] += 0.03125f * static_cast<float>(i + 1);
  }
  const auto kernel = [](bool per_axis) {
    return graph::AffineQuantizer{
        .kind = AffineKind::kLastValue, .per_axis = per_axis, .symmetric = true, .narrow_range = true};
  };
  const graph::AffineQuantizer average{.kind = AffineKind::kMovingAverage};
  set_quantization(model, "input", graph::LayerQuantization{.output = {.kind = AffineKind::kAllValues}});
  set_quantization(model, "conv", graph::LayerQuantization{.weights = {{"kernel", kernel(true)}}});
  set_quantization(model, "act", graph::LayerQuantization{.output = average});
  set_quantization(model, "dense",
                   graph::LayerQuantization{.weights = {{"kernel", kernel(false)}}, .pre_activation = average});
  for (const char* name : {"conv", "dense"}) {
    graph::Layer& layer = model.layer(name);
    const bool per_axis = layer.quantization->weights[0].quantizer.per_axis;
    store_ranges(layer, "kernel", ranges_of_kernel(layer.find_weight("kernel")->value, per_axis));
  }
  store_ranges(model.layer("input"), "output", std::vector<affine::Range>{{0.0f, 1.0f}});
  store_ranges(model.layer("act"), "output", std::vector<affine::Range>{{0.0f, 3.5f}});
  store_ranges(model.layer("dense"), "pre_activation", std::vector<affine::Range>{{-4.5f, 5.0f}});
  return model;
}

// A number of a file, and whose it is: a layer's of the twin, or (layer "") an optimizer_step.
struct TfmotVariable {
  std::string group, path, layer = "", weight = "";
};

inline Tensor value_of(const graph::Model& twin, const TfmotVariable& variable) {
  if (variable.layer.empty()) return Tensor::scalar(-1.0f);
  return twin.layer(variable.layer).find_weight(variable.weight)->value;
}

inline std::vector<TfmotVariable> tfmot_variables() {
  return {{"quantize_layer", "quantize_layer/quantize_layer_min:0", "input", "output_min"},
          {"quantize_layer", "quantize_layer/quantize_layer_max:0", "input", "output_max"},
          {"quantize_layer", "quantize_layer/optimizer_step:0"},
          {"quant_conv", "conv/kernel:0", "conv", "kernel"},
          {"quant_conv", "conv/bias:0", "conv", "bias"},
          {"quant_conv", "quant_conv/optimizer_step:0"},
          {"quant_conv", "quant_conv/kernel_min:0", "conv", "kernel_min"},
          {"quant_conv", "quant_conv/kernel_max:0", "conv", "kernel_max"},
          {"quant_bn", "bn/gamma:0", "bn", "gamma"},
          {"quant_bn", "bn/beta:0", "bn", "beta"},
          {"quant_bn", "bn/moving_mean:0", "bn", "moving_mean"},
          {"quant_bn", "bn/moving_variance:0", "bn", "moving_variance"},
          {"quant_bn", "quant_bn/optimizer_step:0"},
          {"quant_act", "quant_act/optimizer_step:0"},
          {"quant_act", "quant_act/output_min:0", "act", "output_min"},
          {"quant_act", "quant_act/output_max:0", "act", "output_max"},
          {"quant_flatten", "quant_flatten/optimizer_step:0"},
          // As QuantizeWrapper orders them, the first version: the kernel after the bias.
          {"quant_dense", "quant_dense/bias:0", "dense", "bias"},
          {"quant_dense", "quant_dense/kernel:0", "dense", "kernel"},
          {"quant_dense", "quant_dense/optimizer_step:0"},
          {"quant_dense", "quant_dense/kernel_min:0", "dense", "kernel_min"},
          {"quant_dense", "quant_dense/kernel_max:0", "dense", "kernel_max"},
          {"quant_dense", "quant_dense/pre_activation_min:0", "dense", "pre_activation_min"},
          {"quant_dense", "quant_dense/pre_activation_max:0", "dense", "pre_activation_max"}};
}

// Keras' legacy layout. Without a configuration: weights only.
inline std::string tfmot_h5(const graph::Model& twin, const nlohmann::json& config,
                            const std::vector<TfmotVariable>& variables = tfmot_variables()) {
  formats::keras::Hdf5Writer file;
  const std::string root = config.is_null() ? "" : "/model_weights";
  std::vector<std::pair<std::string, std::vector<std::string>>> groups = {{"input", {}}};
  for (const TfmotVariable& variable : variables) {
    if (groups.back().first != variable.group) groups.push_back({variable.group, {}});
    groups.back().second.push_back(variable.path);
  }
  std::vector<std::string> names;
  for (const auto& [group, paths] : groups) names.push_back(group);
  if (!config.is_null()) {
    file.group(root);
    file.text("/", "model_config", config.dump());
    file.text("/", "keras_version", "2.9.0");
  }
  file.texts(root.empty() ? "/" : root, "layer_names", names);
  for (const auto& [group, paths] : groups) {
    file.group(root + "/" + group);
    file.texts(root + "/" + group, "weight_names", paths);
  }
  for (const TfmotVariable& variable : variables) {
    file.tensor(root + "/" + variable.group + "/" + variable.path, value_of(twin, variable));
  }
  return file.finish();
}

// In an archive the groups are counted, not named; the wrapper has taken the kernel from the layer inside.
inline std::vector<TfmotVariable> tfmot_archive_variables() {
  const std::string wrapper = "layers/quantize_wrapper_v2";
  return {{"layers/quantize_layer", "0", "input", "output_min"},
          {"layers/quantize_layer", "1", "input", "output_max"},
          {"layers/quantize_layer", "2"},
          {wrapper, "0", "conv", "kernel"},
          {wrapper, "1", "conv", "bias"},
          {wrapper, "2", "conv", "kernel"},
          {wrapper, "3"},
          {wrapper, "4", "conv", "kernel_min"},
          {wrapper, "5", "conv", "kernel_max"},
          {wrapper + "/layer", "0", "conv", "bias"},
          {wrapper + "_1", "0", "bn", "gamma"},
          {wrapper + "_1", "1", "bn", "beta"},
          {wrapper + "_1", "2"},
          {wrapper + "_1/layer", "0", "bn", "gamma"},
          {wrapper + "_1/layer", "1", "bn", "beta"},
          {wrapper + "_1/layer", "2", "bn", "moving_mean"},
          {wrapper + "_1/layer", "3", "bn", "moving_variance"},
          {wrapper + "_2", "0"},
          {wrapper + "_2", "1", "act", "output_min"},
          {wrapper + "_2", "2", "act", "output_max"},
          {wrapper + "_3", "0"},
          {wrapper + "_4", "0", "dense", "kernel"},
          {wrapper + "_4", "1", "dense", "bias"},
          {wrapper + "_4", "2", "dense", "kernel"},
          {wrapper + "_4", "3"},
          {wrapper + "_4", "4", "dense", "kernel_min"},
          {wrapper + "_4", "5", "dense", "kernel_max"},
          {wrapper + "_4", "6", "dense", "pre_activation_min"},
          {wrapper + "_4", "7", "dense", "pre_activation_max"},
          {wrapper + "_4/layer", "0", "dense", "bias"}};
}

inline std::string tfmot_archive(const graph::Model& twin, const nlohmann::json& config,
                                 const std::vector<TfmotVariable>& variables = tfmot_archive_variables()) {
  formats::keras::Hdf5Writer file;
  file.group("/layers/input_layer/vars");
  for (const TfmotVariable& variable : variables) {
    file.tensor("/" + variable.group + "/vars/" + variable.path, value_of(twin, variable));
  }
  return formats::keras::write_zip({{"metadata.json", R"({"keras_version": "2.15.0"})"},
                                    {"config.json", config.dump()},
                                    {"model.weights.h5", file.finish()}});
}

}  // namespace nibble::testing
