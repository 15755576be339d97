// nibble/graph/builder_activation.h
// Activations with parameters, and layers that act in training only; see builder.h.
#pragma once

#include "nibble/graph/builder.h"

namespace nibble::graph::build {

struct QAdaptiveActivationOptions {
  std::string activation = "";
  int64_t total_bits = 0;
  bool symmetric = true;
  int64_t quantization_delay = 0;
  std::optional<int64_t> ema_freeze_delay = {};
  double ema_decay = 0.9999;
  bool per_channel = false;
  bool po2_rounding = false;
  double relu_neg_slope = 0.0;
  std::optional<double> relu_upper_bound = {};
  std::string name = "";
};
LayerCall QAdaptiveActivation(const QAdaptiveActivationOptions& options);

struct LeakyReLUOptions {
  double negative_slope = 0.3;
  std::string name = "";
};
LayerCall LeakyReLU(const LeakyReLUOptions& options);

struct ELUOptions {
  double alpha = 1.0;
  std::string name = "";
};
LayerCall ELU(const ELUOptions& options);

struct PReLUOptions {
  std::string alpha_initializer = "zeros";
  std::vector<int64_t> shared_axes = {};
  std::string name = "";
  Attributes more = {};
};
LayerCall PReLU(const PReLUOptions& options);

struct SoftmaxOptions {
  int64_t axis = -1;
  std::string name = "";
};
LayerCall Softmax(const SoftmaxOptions& options);

struct GaussianNoiseOptions {
  double stddev = 0.0;
  std::string name = "";
};
LayerCall GaussianNoise(const GaussianNoiseOptions& options);

LayerCall SpatialDropout1D(const DropoutOptions& options);
LayerCall SpatialDropout2D(const DropoutOptions& options);
LayerCall GaussianDropout(const DropoutOptions& options);
LayerCall AlphaDropout(const DropoutOptions& options);

}  // namespace nibble::graph::build
