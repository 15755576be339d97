// nibble/program/integer_weights.h
// The weights of a layer as a convolution of integers needs them, and a batch norm as two numbers a
// channel.
#pragma once

#include "nibble/graph/model.h"
#include "nibble/program/channel_function.h"

namespace nibble::program {

struct IntegerWeights {
  std::vector<int32_t> values;  // the weight's elements in order
  PerChannel scale;             // real = integer * scale, exactly; one a channel of the output
  int bits = 0;                 // of the widest, two's complement
};

// The weight as its layer computes with it (quantized), as integers.
//   weight     "kernel" or "depthwise_kernel"
//   attribute  where its quantizer stands
//   channels   of the output
//   inner      the channel of the output changes after so many elements: 1, but for a kernel (h, w, out, in)
//   throws     Unsupported without a quantizer, or where scales differ within a channel
IntegerWeights integer_weights(const graph::Layer& layer, std::string_view weight, std::string_view attribute,
                               int64_t channels, int64_t inner = 1);

// A weight that stays real numbers, as the network computes with it: through the quantizer in `attribute`, if the layer
// has one, and then through its affine point.
//   throws  InvalidArgument if the layer has no such weight yet
std::vector<float> weight_values(const graph::Layer& layer, std::string_view weight, std::string_view attribute);

// The layer's bias likewise. Empty: the layer has no bias.
std::vector<float> bias_values(const graph::Layer& layer);

// A (Q)BatchNormalization with its stored statistics, as the training path applies it:
//   multiplier = Qi( Qg(gamma) / sqrt(Qv(variance) + epsilon) ),  offset = Qb(beta) - Qm(mean) * multiplier
// in double, rounded to float32 at the end.
Affine batch_norm(const graph::Layer& layer);

}  // namespace nibble::program
