// nibble/kernels/weight_quantizer.h
// Quantizes a whole weight tensor in one call, for training's hot path.
#pragma once

#include <cstdint>
#include <memory>

#include "nibble/quant/quantizer.h"

namespace nibble::kernels {

// A quantizer prepared for weights of training: the fast kernel where there is one, else the
// quantizer's own scalar code.
class WeightQuantizer {
 public:
  // quantizer: as the layer uses it (after as_weight_quantizer()).
  explicit WeightQuantizer(quant::QuantizerPtr quantizer);
  ~WeightQuantizer();
  WeightQuantizer(WeightQuantizer&&) noexcept;

  // real = quantize(weights). Weights are in Keras' layout, channels on the last axis. The values are the
  // quantizer's, bit for bit, except that a stochastic draw within 1e-6 of its probability may fall to the other side,
  // and quantized_po2 within a few units in the last place of 2^(k + 1/2) to the other power.
  //   weights, real  [shape.elements()]; not the same memory
  void quantize(const float* weights, const Shape& shape, const quant::QuantizeOptions& options, float* real) const;

  // True if the gradient is 1 everywhere in this phase (then gradient() need not be called).
  bool has_unit_gradient(quant::Phase phase) const;
  void gradient(const float* weights, const float* upstream, const Shape& shape, const quant::QuantizeOptions& options,
                float* dweights) const;

  bool is_vectorized() const;  // in one phase at least; false: scalar code runs

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace nibble::kernels
