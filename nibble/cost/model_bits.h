// nibble/cost/model_bits.h
// Bits of a network's parameters and activations: AutoQKeras' "bits" goal
// (spec/autoqkeras.md section 5).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "nibble/cost/compat.h"
#include "nibble/graph/model.h"

namespace nibble::cost {

// What of a layer class counts.
struct BitsParts {
  bool parameters = false;
  bool activations = false;
};

struct BitsOptions {
  Compat compat = Compat::kNone;
  int ref_bits = 8;     // of weights and activations without a quantizer
  int input_bits = 8;   // of the model's inputs
  int output_bits = 8;  // of softmax and sigmoid
  // Class name -> parts; "default" stands for classes not named. A class without an entry is left out. An entry
  // "Dense" holds for QDense too where that has none (not with compat).
  std::map<std::string, BitsParts> config = {{"default", {true, true}}};
};

struct LayerBits {
  std::string name, class_name;
  int64_t parameters = 0;   // counted or not
  int64_t activations = 0;  // counted or not
  int64_t total = 0;        // of the parts that count
};

struct ModelBits {
  std::vector<LayerBits> layers;  // inputs too; without layers whose class has no entry
  int64_t parameters = 0;
  int64_t activations = 0;
  int64_t total() const { return parameters + activations; }
};

// Parameters: every weight of a layer with kernels at its quantizer's width; batch normalization one scale and one
// offset per channel. Activations: the output of a layer at the width of its activation, 0 where that is linear.
//   throws  InvalidArgument for widths below 0 or shapes that are not fixed
ModelBits count_bits(const graph::Model& model, const BitsOptions& options = {});

}  // namespace nibble::cost
