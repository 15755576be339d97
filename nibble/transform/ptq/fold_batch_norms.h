// nibble/transform/ptq/fold_batch_norms.h
// Batch normalizations merged into the plain layers before them, for good.
//
//   kernel' = kernel * gamma / sqrt(variance + epsilon)
//   bias'   = (bias - mean) * gamma / sqrt(variance + epsilon) + beta
//
// with the moving statistics. Layers: Conv1D, Conv2D, DepthwiseConv2D, Conv2DTranspose, Dense. The batch normalization
// disappears; the function of the model in inference stays, but for rounding. Source: spec/ptq-qat-experiments.md, 5.9.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "nibble/graph/model.h"

namespace nibble::ptq {

// What the weights are divided by.
enum class FoldDivisor {
  kStandardDeviation,  // sqrt(variance + epsilon)
  // The variance itself: the mistake behind seed 4's batch-norm figures (defect D1). Every channel comes out wrong by
  // a factor of 1 / sigma. Only for the ablation that shows it.
  kVariance,
};

// Of the values that a batch normalization gives, one a channel.
struct ChannelMoments {
  std::vector<double> mean, deviation;
};

// beta, and |gamma| sqrt(variance / (variance + epsilon)): where the statistics are those of the data.
//   throws  InvalidArgument naming the layer whose weights are missing or do not fit
ChannelMoments output_moments(const graph::Layer& batch_norm);

struct FoldedBatchNorms {
  graph::Model model;
  std::vector<std::string> folded;  // layers that took one in
  std::vector<std::string> left;    // batch normalizations that stay: folding would change the function, or may not be
  std::map<std::string, ChannelMoments> moments;  // of what the folded layers give, by name
};

// False leaves a batch normalization behind the layer that could take it in.
using MayFold = std::function<bool(const graph::Layer& layer, const graph::Layer& batch_norm)>;

//   may_fold  empty: all of them
//   throws    InvalidArgument naming the layer whose weights are missing or do not fit
FoldedBatchNorms fold_batch_norms(const graph::Model& model, FoldDivisor divisor = FoldDivisor::kStandardDeviation,
                                  const MayFold& may_fold = {});

}  // namespace nibble::ptq
