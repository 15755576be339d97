// nibble/transform/embedding_compression.h
// Tables for an embedding: its rows in blocks of similar ones, the numbers of each block in a codebook of its own
// (QKeras' two_tier_embedding_compression).
// Source: spec/qkeras.md section 5, "Codebook".
#pragma once

#include <cstdint>
#include <vector>

#include "nibble/core/tensor.h"
#include "nibble/quant/quantizer.h"

namespace nibble::transform {

// Which of `count` clusters each row belongs to: k-means (Lloyd) on rows, k-means++ starts, the best of `restarts`.
//   rows     [n, width]
//   count    at most as many clusters come out as there are distinct rows
//   throws   InvalidArgument for other shapes, a count below 1, or values that are not finite
std::vector<int32_t> cluster_rows(const Tensor& rows, int count, uint64_t seed, int restarts = 10);

struct EmbeddingCompression {
  std::vector<int32_t> blocks;   // of each row
  std::vector<int32_t> indices;  // of each element, in its row's codebook
  Tensor codebooks;              // [2^bits, 2^bits]; a block without rows has zeros, unused places repeat the last
  Tensor restored;               // codebooks[block][index]
};

// restored[row][i] = codebooks[blocks[row]][indices[row][i]], 2^bits blocks of 2^bits values each.
//   weights    [rows, width]
//   bits       1 .. 8
//   quantizer  of the codebooks; null: none
EmbeddingCompression two_tier_embedding_compression(const Tensor& weights, int bits,
                                                    const quant::QuantizerPtr& quantizer, uint64_t seed = 0);

}  // namespace nibble::transform
