// nibble/transform/ptq/layer_quantizer.h
// The weights of one layer in post-training quantization. Private to transform/ptq.
#pragma once

#include <optional>

#include "nibble/graph/layer_quantization.h"
#include "nibble/transform/ptq/post_training.h"

namespace nibble::ptq {

struct LayerInputs {
  const Tensor* real = nullptr;       // of the float network
  const Tensor* quantized = nullptr;  // of the network quantized so far
  std::optional<float> scale;         // step of `quantized`
};

struct LayerTask {
  const graph::Layer& layer;     // float, right: ranges are chosen for it, and outputs compared with it
  const graph::Layer& deployed;  // whose weights are coded: another only in the ablation of the fold
  LayerInputs inputs;
  bool is_rectified = false;                             // ReLU comes right after it, in the layer or as the next one
  const std::vector<double>* expected_inputs = nullptr;  // mean of each input channel; null: not known
};

struct QuantizedWeights {
  graph::Layer layer;                 // kernel on its grid; bias corrected and on its grid
  std::vector<affine::Range> ranges;  // of the kernel, one or one a channel
  bool has_accumulator_bias = false;  // the bias lies on the grid input scale * weight scale
};

//   row  its fields about weights are filled in
QuantizedWeights quantize_layer_weights(const LayerTask& task, const PostTrainingOptions& options, QuantizedLayer& row);

// x becomes what the network gives with that quantizer and range.
//   returns  the step between its codes; nothing for a zero range
std::optional<float> fake_quantize(const graph::AffineQuantizer& quantizer, affine::Range range, Tensor& x);

// Share of the values outside the range.
double clipped_share(std::span<const float> x, affine::Range range);

}  // namespace nibble::ptq
