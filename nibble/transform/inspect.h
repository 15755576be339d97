// nibble/transform/inspect.h
// "Are my weights quantized?" answered for every weight of a model.
//
// Only the stored numbers count: a weight is quantized when it lies on the grid of its
// quantizer, real = scale * code, with codes that fit the bit width. A layer with folded batch normalization keeps its
// weights float and quantizes what folding makes of them: for it the folded kernel and bias are shown. Variables of
// affine points (graph/layer_quantization.h) are no weights of the network and are left out.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "nibble/graph/model.h"

namespace nibble::transform {

struct WeightInspection {
  std::string layer, class_name, name;
  Shape shape;
  bool is_folded = false;         // not stored: what folding makes of the stored weights and the moving statistics
  quant::QuantizerPtr quantizer;  // null: none, and everything below the line is unset

  // ----
  bool is_on_grid = false;            // the stored values are scale * code exactly (1e-6 of the scale)
  bool is_stable = false;             // the quantizer would give the stored values again
  bool has_codes = false;             // the quantizer's values have integer codes at all
  bool is_power_of_two_code = false;  // codes are exponents
  int bit_width = 0;
  bool is_signed = true;
  std::vector<float> scales;  // one, or one per channel
  bool scale_is_power_of_two = true;
  int32_t code_min = 0, code_max = 0;
  int bits_used = 0;                     // what code_min .. code_max would fit in; <= bit_width
  std::map<int32_t, int64_t> histogram;  // code -> how many; for exponents, sign * 2^code counts under code
  double saturated_share = 0;            // at the lowest or highest code (fixed point above 2 bits)
  double clipped_share = 0;              // further than half a step from the code they got
  double zero_share = 0;                 // of the quantized values
  double max_error = 0;                  // largest |stored - quantized|
};

// What the scales of a weight cost in hardware, as words: "none" (all are 1), "shift" (powers of two), "multiply".
std::string_view scale_cost(const WeightInspection& weight);

struct Inspection {
  std::vector<WeightInspection> weights;  // every weight of the model, in order; of folded layers the folded ones
  std::vector<std::string> warnings;      // sentences for the user
};

//   throws  InvalidArgument if the model has no weights at all
Inspection inspect(const graph::Model& model);

// {"weights": [...], "warnings": [...]}; histograms as [[code, count], ...].
nlohmann::json to_json(const Inspection& inspection);

}  // namespace nibble::transform
