// nibble/train/quantization_phase.h
// What a training does with affine quantization (graph/layer_quantization.h) just now.
#pragma once

namespace nibble::train {

struct QuantizationPhase {
  bool applies = true;          // false: values stay float; ranges are watched all the same
  bool ranges_move = true;      // in training passes
  bool statistics_move = true;  // of batch normalizations; false: they run with the stored ones, in training too
  bool operator==(const QuantizationPhase&) const = default;
};

}  // namespace nibble::train
