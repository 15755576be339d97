// nibble/transform/codebook.h
// Weights as indices into a small table: k-means on their values, the centroids on a quantizer's grid.
// Source: spec/qkeras.md section 5, "Codebook".
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "nibble/core/tensor.h"
#include "nibble/quant/quantizer.h"

namespace nibble::transform {

// Index of the nearest of `centroids`; the first wins a tie.
int32_t nearest_centroid(float value, std::span<const float> centroids);

// create_in_out_table: for each value of quantizer.range() the index of its centroid.
struct InOutTable {
  std::vector<float> in;     // the centroids, sorted
  std::vector<int32_t> out;  // as long as the quantizer's range
};
InOutTable in_out_table(std::vector<float> centroids, const quant::Quantizer& quantizer);

// Scalar k-means (Lloyd), k-means++ starts, the best of `restarts`; sorted.
//   count    at most as many as there are distinct values; fewer come back otherwise
//   throws   InvalidArgument for no values, a count below 1, or values that are not finite
std::vector<float> k_means(std::span<const float> values, int count, uint64_t seed, int restarts = 10);

struct WeightCompression {
  std::vector<int32_t> indices;  // the weight's elements in order
  Tensor codebook;               // [slices, 2^bits]; unused places repeat the last centroid
  Tensor restored;               // codebook[slice][index]
};

// weight_compression: each slice along `axis` has a codebook of 2^bits centroids.
//   bits       1 .. 8
//   quantizer  of the centroids; null: none
//   throws     InvalidArgument naming what does not fit
WeightCompression compress_weights(const Tensor& weights, int bits, int axis, const quant::QuantizerPtr& quantizer,
                                   uint64_t seed = 0);

// b2t, binary to thermometer: a number in [0, range) becomes `classes` channels that are 1 below its level
// x * classes / range, the fraction of the level (with_residue) in the next one, 0 above.
//   x       any shape; a last axis of length `classes` is added
//   throws  InvalidArgument for a number outside [0, range), classes < 2 or range <= 0
Tensor binary_to_thermometer(const Tensor& x, int classes, float range, bool with_residue = false);

}  // namespace nibble::transform
