// tests/affine_networks.h
// For tests of affine networks as programs: networks of [10, 10, 3] images with 5 classes, calibrated on samples.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "nibble/core/tensor.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/model.h"
#include "nibble/program/program.h"
#include "nibble/transform/qat/quantize_apply.h"

namespace nibble {

// Their input, 3x3 convolutions, and what ends them.
graph::build::Node image();
graph::build::Node conv(const graph::build::Node& x, int filters, const std::string& name,
                        const std::string& activation = "linear");
graph::build::Node classifier(const graph::build::Node& x, const std::string& activation = "softmax");

graph::Model plain();
graph::Model depthwise();
graph::Model only();  // one layer, which is the last
graph::Model wide();  // sums of 16-bit codes over 300 inputs take 39 bits or so
graph::Model batch_norms();
graph::Model averages();
graph::Model averages_at_borders();
graph::Model branches();
graph::Model joined();
graph::Model residual();
graph::Model curves();
graph::Model slopes();
graph::Model moves();
graph::Model maxima();
graph::Model extremes();
graph::Model transposed();

// Uniform in -largest .. largest; another `number` gives others.
Tensor samples(int64_t count, uint32_t number, float largest = 1.0f);

// Statistics and biases at random, ranges from some batches.
graph::Model calibrated(graph::Model model, const qat::Scheme& scheme, float largest = 1.0f);

}  // namespace nibble
