// How much of its quantization a network feels: the qnoise_factor of all its quantizers at once.
//
//   value = u + qnoise_factor * (q(x) - u),   u the path that is not quantized
// For training that begins with little quantization and ends with all of it [arXiv 1903.01061];
// spec/qkeras.md section 0 ("qnoise mix").
#pragma once

#include <optional>

#include "nibble/graph/model.h"

namespace nibble::graph {

struct QNoise {
  double factor = 1.0;                 // 0: nothing is quantized; 1: everything is
  std::optional<bool> use_ste = true;  // false: gradients shrink with 1 - factor, to 0 at factor 1; nothing: as it is
  bool operator==(const QNoise&) const = default;
};

// The quantizer with that factor, and with that use_ste if it has one; itself if it has no qnoise_factor
// (binary, ternary, ...). Null stays null.
quant::QuantizerPtr with_qnoise(const quant::QuantizerPtr& quantizer, const QNoise& noise);

// The layers with all their quantizers so, those of the layers inside a Bidirectional or RNN too; without weights.
Model with_qnoise(const Model& model, const QNoise& noise);

}  // namespace nibble::graph
