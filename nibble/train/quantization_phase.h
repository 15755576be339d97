// nibble/train/quantization_phase.h
// What a training does with affine quantization (graph/layer_quantization.h) just now.
#pragma once

namespace nibble::train {

struct QuantizationPhase {
  bool applies = true;          // false: values stay float; ranges are watched all the same
  bool ranges_move = true;      // in training passes
  bool statistics_move = true;  // of batch normalizations; false: they run with the stored ones, in training too
  // An experiment's mistake: after each use in a training pass the kernels of convolutions are their quantized values,
  // so that a step smaller than half a code is lost. Those of dense layers stay.
  bool overwrites_convolutions = false;
  bool operator==(const QuantizationPhase&) const = default;
};

}  // namespace nibble::train
