// nibble/program/lowering.h
// A trained, quantized network to an integer program.
//
// Needs: a quantizer on every weight tensor of a convolution or dense layer, and a quantizer on every
// value that enters one. What stands between (bias, batch norm with or without quantizers, ReLU,
// pooling, dropout) may stay float: it becomes thresholds.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "nibble/graph/model.h"
#include "nibble/program/program.h"

namespace nibble::program {

// How a softmax at the end is computed: in float from the last integers, or in integers too (integer_softmax.h).
enum class SoftmaxForm { kFloat, kInteger };

struct LoweringOptions {
  // Applied to the input where the model does not begin with a quantizer.
  std::string input_quantizer = "quantized_bits(8,0,1,alpha=1.0)";
  int64_t max_thresholds = int64_t{1} << 24;  // of one layer, all channels together
  SoftmaxForm softmax = SoftmaxForm::kFloat;
  // A multiplication with this rounding between accumulators and codes, as integer hardware has (fixed_point_rule.h).
  // Null: the steps of the trained float arithmetic. Quantizers whose codes are no rounded line keep theirs.
  std::optional<affine::Rounding> rounding = std::nullopt;
};

//   throws  Unsupported naming the layer, what it lacks and what would do;
//           InvalidArgument for a layer without weights
Program lower(const graph::Model& model, const LoweringOptions& options = {});

// What the float network has to be given so that both see the same: the input quantizer, or null where the model has
// its own.
quant::QuantizerPtr input_quantizer(const Program& program, const graph::Model& model);

}  // namespace nibble::program
