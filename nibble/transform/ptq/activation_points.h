// nibble/transform/ptq/activation_points.h
// Which activations of a float network are quantized, so that a program of integers could run it.
//
//   the model's input, and the output of every layer, except
//   - layers that only move values: max pooling, Flatten, Reshape, Dropout, zero padding, cropping, upsampling to the
//     nearest pixel; they keep their input's codes
//   - a layer, but Maximum and Minimum, whose one reader is an activation or a batch normalization: its result is
//     quantized behind that
//   - an input that an Embedding reads: its values are names of rows, which rounding would change for others
//   - softmax: what enters it is quantized, what leaves it stays float
//
// Source: spec/ptq-qat-experiments.md, section 2 (D6, D7) and spec/tfmot-tflite.md, A3.
#pragma once

#include <string>
#include <vector>

#include "nibble/graph/model.h"

namespace nibble::ptq {

struct ActivationPoint {
  std::string layer;
  std::string point;       // graph::kPostActivation, kPreActivation or kOutput
  bool is_result = false;  // nothing computes with it any more: the logits
  bool operator==(const ActivationPoint&) const = default;
};

// In the model's order.
std::vector<ActivationPoint> activation_points(const graph::Model& model);

// True where an Embedding reads the layer's output, or what layers that only move values make of it.
bool feeds_embedding(const graph::Model& model, const std::string& layer);

// Max pooling and the like: the codes of the output are codes of the input.
bool moves_values(const graph::Layer& layer);

// ReLU, sigmoid, ... as a layer of its own; not softmax.
bool is_activation_layer(const graph::Layer& layer);

}  // namespace nibble::ptq
