// nibble/quant/blocks.h
// Which scale belongs to which element.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "nibble/core/tensor.h"

namespace nibble::quant {

// Cuts a tensor into equal blocks: blocks[a] blocks along axis a. 1 block is "reduced over the
// axis", as many blocks as the extent is "one per index", in between are groups of neighbours.
class BlockIndex {
 public:
  // Shapes align at the last axis, as in numpy's broadcasting.
  //   throws  InvalidArgument if blocks does not divide the shape
  BlockIndex(const Shape& blocks, const Shape& shape);

  // The block of element i (row-major).
  int64_t operator[](int64_t i) const { return index_.empty() ? 0 : index_[static_cast<size_t>(i)]; }

 private:
  std::vector<int64_t> index_;  // empty: everything is in one block
};

// Each block's mean, in double, rounded once.
//   values  shape's elements in order
Tensor block_mean(std::span<const float> values, const Shape& shape, const Shape& blocks);

// Each block's largest value (of |value| if `magnitude`); NaN if there is one.
Tensor block_max(std::span<const float> values, const Shape& shape, const Shape& blocks, bool magnitude);

// Each block's population standard deviation.
Tensor block_deviation(std::span<const float> values, const Shape& shape, const Shape& blocks);

// One value per block, repeated for every index of `shape`: {1, 2} blocks become shape {1, 4}.
Tensor repeat_blocks(const Tensor& per_block, const Shape& shape);

}  // namespace nibble::quant
