#include "nibble/graph/builder_activation.h"

#include "nibble/graph/builder_attributes.h"

namespace nibble::graph::build {

LayerCall QAdaptiveActivation(const QAdaptiveActivationOptions& o) {
  return {"QAdaptiveActivation",
          o.name,
          {{"activation", o.activation},
           {"total_bits", o.total_bits},
           {"symmetric", o.symmetric},
           {"quantization_delay", o.quantization_delay},
           {"ema_freeze_delay", or_unset(o.ema_freeze_delay)},
           {"ema_decay", o.ema_decay},
           {"per_channel", o.per_channel},
           {"po2_rounding", o.po2_rounding},
           {"relu_neg_slope", o.relu_neg_slope},
           {"relu_upper_bound", or_unset(o.relu_upper_bound)}}};
}

LayerCall LeakyReLU(const LeakyReLUOptions& o) { return {"LeakyReLU", o.name, {{"negative_slope", o.negative_slope}}}; }

LayerCall ELU(const ELUOptions& o) { return {"ELU", o.name, {{"alpha", o.alpha}}}; }

LayerCall PReLU(const PReLUOptions& o) {
  return {"PReLU", o.name,
          with(o.more, {{"alpha_initializer", o.alpha_initializer}, {"shared_axes", or_unset(o.shared_axes)}})};
}

LayerCall Softmax(const SoftmaxOptions& o) { return {"Softmax", o.name, {{"axis", o.axis}}}; }

LayerCall GaussianNoise(const GaussianNoiseOptions& o) { return {"GaussianNoise", o.name, {{"stddev", o.stddev}}}; }

LayerCall SpatialDropout1D(const DropoutOptions& o) { return {"SpatialDropout1D", o.name, {{"rate", o.rate}}}; }
LayerCall SpatialDropout2D(const DropoutOptions& o) { return {"SpatialDropout2D", o.name, {{"rate", o.rate}}}; }
LayerCall GaussianDropout(const DropoutOptions& o) { return {"GaussianDropout", o.name, {{"rate", o.rate}}}; }
LayerCall AlphaDropout(const DropoutOptions& o) { return {"AlphaDropout", o.name, {{"rate", o.rate}}}; }

}  // namespace nibble::graph::build
