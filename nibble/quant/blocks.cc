#include "nibble/quant/blocks.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"

namespace nibble::quant {
namespace {

// blocks with leading ones, so that both have the same rank.
std::vector<int64_t> aligned(const Shape& blocks, const Shape& shape) {
  bool fits = blocks.rank() <= shape.rank();
  std::vector<int64_t> extents(static_cast<size_t>(shape.rank()), 1);
  for (int axis = 1; fits && axis <= blocks.rank(); ++axis) {
    const int64_t count = blocks[-axis];
    fits = count > 0 ? shape[-axis] % count == 0 : shape[-axis] == 0;
    extents[extents.size() - static_cast<size_t>(axis)] = count;
  }
  if (!fits) {
    throw InvalidArgument(
        "[quantizer] scales of shape {} do not fit a tensor of shape {}. Give one scale, or one for each index of an "
        "axis with 1 on the others.",
        blocks.str(), shape.str());
  }
  return extents;
}

}  // namespace

BlockIndex::BlockIndex(const Shape& blocks, const Shape& shape) {
  const std::vector<int64_t> count = aligned(blocks, shape);
  const int64_t elements = shape.elements();
  if (elements == 0 || blocks.elements() == 1) return;
  index_.assign(1, 0);
  index_.reserve(static_cast<size_t>(elements));
  // Grows the table axis by axis from the outermost: every entry becomes `extent` entries.
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const int64_t extent = shape[axis], blocks_here = count[static_cast<size_t>(axis)];
    const int64_t block_extent = extent / blocks_here;
    std::vector<int64_t> grown;
    grown.reserve(index_.size() * static_cast<size_t>(extent));
    for (const int64_t outer : index_) {
      for (int64_t i = 0; i < extent; ++i) grown.push_back(outer * blocks_here + i / block_extent);
    }
    index_ = std::move(grown);
  }
}

Tensor block_mean(std::span<const float> values, const Shape& shape, const Shape& blocks) {
  const BlockIndex index(blocks, shape);
  Tensor mean(blocks);
  std::vector<double> sum(static_cast<size_t>(mean.size()), 0.0);
  for (size_t i = 0; i < values.size(); ++i) sum[static_cast<size_t>(index[static_cast<int64_t>(i)])] += values[i];
  const double count = static_cast<double>(values.size()) / static_cast<double>(sum.size());
  for (size_t b = 0; b < sum.size(); ++b) mean.data()[b] = static_cast<float>(sum[b] / count);
  return mean;
}

Tensor block_max(std::span<const float> values, const Shape& shape, const Shape& blocks, bool magnitude) {
  const BlockIndex index(blocks, shape);
  Tensor largest(blocks, -INFINITY);
  for (size_t i = 0; i < values.size(); ++i) {
    float& best = largest[index[static_cast<int64_t>(i)]];
    const float value = magnitude ? std::abs(values[i]) : values[i];
    if (value > best || std::isnan(value)) best = value;
  }
  return largest;
}

Tensor block_deviation(std::span<const float> values, const Shape& shape, const Shape& blocks) {
  const BlockIndex index(blocks, shape);
  const Tensor mean = block_mean(values, shape, blocks);
  std::vector<float> squares(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const float centred = values[i] - mean[index[static_cast<int64_t>(i)]];
    squares[i] = centred * centred;
  }
  Tensor deviation = block_mean(squares, shape, blocks);
  for (float& value : deviation.data()) value = std::sqrt(value);
  return deviation;
}

Tensor repeat_blocks(const Tensor& per_block, const Shape& shape) {
  const BlockIndex index(per_block.shape(), shape);
  Tensor repeated(shape);
  for (int64_t i = 0; i < repeated.size(); ++i) repeated[i] = per_block[index[i]];
  return repeated;
}

}  // namespace nibble::quant
