// nibble/train/layer_runtime.h
// What a network keeps per layer: its weights by name, each with its quantizer, and the small
// arithmetic of batch norm on [C] vectors.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/train/fused_ops.h"
#include "nibble/train/network.h"

namespace nibble::train {

// The random numbers of one layer in one step are told apart by role: a weight's index in the layer, or one of these.
inline constexpr uint32_t kInverseRole = 6;  // a batch norm's inverse_quantizer
inline constexpr uint32_t kActivationRole = 7;
inline constexpr uint32_t kGradientRole = 32;  // plus the place of an activation's point: before, after, output
inline constexpr uint32_t kFirstDraw = 64;     // plus the draw of a layer op
inline constexpr uint32_t kRolesPerLayer = 4096;

// As the layer computes with it; null where the class has no such quantizer, or it is None.
quant::QuantizerPtr quantizer_of(const graph::Layer& layer, const std::string& attribute);

struct LayerWeight {
  std::string name;
  at::Tensor value;                                // shares memory with the network's Parameter
  quant::QuantizerPtr quantizer;                   // as the layer uses it; null: none
  std::shared_ptr<kernels::WeightQuantizer> fast;  // of `quantizer`
  uint32_t role = 0;                               // tells the random numbers of one layer apart
  at::Tensor mask = {};                            // multiplies what the quantizer gives; undefined: none

  void set_quantizer(quant::QuantizerPtr given);
};

struct LayerRuntime {
  std::vector<LayerWeight> weights;

  void add_weight(std::string name, at::Tensor value, quant::QuantizerPtr quantizer);
  LayerWeight* find(std::string_view name);  // null if the layer has none of that name
};

// Mean over batches of the batch statistics.
struct CollectedStatistics {
  at::Tensor mean_sum, variance_sum;  // [C] double
  int batches = 0;

  void add(const at::Tensor& mean, const at::Tensor& variance);
  at::Tensor mean() const;
  at::Tensor variance() const;
};

struct BatchStatistics {
  at::Tensor mean, variance;  // [C] double; population variance
};

// count: values behind each channel
BatchStatistics statistics_of(const ChannelSums& sums, double count);

// Batch norm as  y = x * multiplier + offset:
//   multiplier = Qi( Qg(gamma) / sqrt(Qv(variance) + epsilon) ),  offset = Qb(beta) - Qm(mean) * multiplier
// with whichever of the quantizers the layer has (spec/qkeras.md section 4, QBatchNormalization).
struct BatchNormCoefficients {
  at::Tensor multiplier, offset;  // [C] double, differentiable
};
BatchNormCoefficients batch_norm_coefficients(LayerRuntime& layer, const BatchStatistics& statistics, double epsilon,
                                              const quant::QuantizerPtr& inverse_quantizer,
                                              const std::function<quant::QuantizeOptions(uint32_t role)>& options);

}  // namespace nibble::train
