// nibble/train/activation_compression.h
// Codebooks for activations: k-means on what layers give for some samples (QKeras' activation_compression).
// Source: spec/qkeras.md section 5, "Codebook".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nibble/graph/model.h"
#include "nibble/transform/codebook.h"

namespace nibble::train {

struct ActivationCompressionOptions {
  int bits = 3;              // 1 .. 8: 2^bits centroids a layer
  double sample_size = 1.0;  // share of a layer's values that k-means sees, above 0; drawn from `seed`
  uint64_t seed = 0;
  int restarts = 10;
};

struct ActivationCodebook {
  std::string layer;
  transform::InOutTable
      table;  // in: the centroids, sorted; out: the centroid of each value of the activation's quantizer
};

// A table for each of the layers, each of its own outputs.
//   layers   QActivations with a quantizer that has a range()
//   x        [n, shape of the model's input]
//   throws   InvalidArgument naming the layer that is no such activation, or options that do not fit
std::vector<ActivationCodebook> activation_compression(const graph::Model& model,
                                                       const std::vector<std::string>& layers, const Tensor& x,
                                                       const ActivationCompressionOptions& options = {});

}  // namespace nibble::train
