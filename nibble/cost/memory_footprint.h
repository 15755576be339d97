// What a network takes of a device's memory: weights (flash) and, at the worst moment of an inference,
// activations (RAM).
//
// Layers run in the model's order. A tensor is alive from the layer that writes it to the last one that reads it; the
// peak is the largest sum of living tensors, each elements * bits of its type, packed.
//   - An activation or batch normalization that alone reads a layer's output runs inside that layer: what is
//     between them is never stored.
//   - Dropout, Flatten and Reshape give back their input's tensor.
//   - A plain activation, a layer of its own or inside another one, hands out values of options.keras_quantizer's type
//     (8 bits without one): what stands before it is an accumulator, but nobody stores those. What is picked from such
//     values (pooled by maximum, upsampled, concatenated) are values too.
//   - The model's inputs are alive until they are read for the last time, its outputs until the end.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nibble/cost/data_type_map.h"
#include "nibble/graph/model.h"

namespace nibble::cost {

struct MemoryStep {
  std::string layer;        // the last one that runs in this step
  int64_t living_bits = 0;  // inputs and outputs of the step, and what later ones still need
};

struct MemoryFootprint {
  int64_t weight_bits = 0;  // as count_bits(): 8 bits where a weight has no quantizer
  int64_t peak_bits = 0;    // of activations
  std::string peak_layer;   // the first step that reaches the peak
  std::vector<MemoryStep> steps;
};

//   throws  as data_type_map()
MemoryFootprint memory_footprint(const graph::Model& model, const DataTypeOptions& options = {});

}  // namespace nibble::cost
