// nibble/train/layer_outputs.h
// What every layer gives for some samples, and QKeras' two ways of showing it: quantized_model_debug and
// quantized_model_dump.
// Source: spec/qkeras.md section 5.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "nibble/graph/model.h"

namespace nibble::train {

struct LayerOutput {
  std::string layer;
  Tensor value;  // [n, output shape], inference phase
};

// Of every layer but the input, in the model's order.
//   x       [n, shape of the model's input]
//   throws  InvalidArgument if a layer has no weights yet or x does not fit; Unsupported naming the layer
std::vector<LayerOutput> layer_outputs(const graph::Model& model, const Tensor& x);

// One line for the input and one for each layer of QKeras: name, smallest and largest output, then of each weight
// the smallest and largest quantized value.
//
//   input                           -2.9886   2.6222
//   sep                             -1.4020   1.3894 ( -0.7500   0.1250) ( -0.5000   0.5000) a(  1.000000   1.000000)
//
// Where a scale is found from the data, the output of a QActivation and the first weight of a layer are shown divided
// by it, and a[min max], a(min max) tell the scales. A depthwise kernel is shown undivided, as the reference does.
std::string model_debug_text(const graph::Model& model, const Tensor& x);

// Writes the output of each layer of QKeras to directory/NAME.bin: float32, little-endian, row-major, nothing else.
// A '/' in a layer's name becomes '_'. The directory is made.
//   returns  the files, in the model's order
//   throws   IoError; InvalidArgument if two layers would share a file
std::vector<std::filesystem::path> dump_layer_outputs(const graph::Model& model, const Tensor& x,
                                                      const std::filesystem::path& directory);

}  // namespace nibble::train
