#include "nibble/transform/embedding_compression.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "nibble/core/error.h"
#include "nibble/core/philox.h"

namespace nibble::transform {
namespace {

// Rows around one of four corners, in no order; the corner of each row.
struct Corners {
  Tensor rows;
  std::vector<int> corner;
};

Corners corners(int64_t count, float noise) {
  Corners result{Tensor({count, 3}), {}};
  RandomStream random({.seed = 4, .purpose = RandomPurpose::kTest});
  for (int64_t row = 0; row < count; ++row) {
    const auto corner = static_cast<int>(random.below(4));
    result.corner.push_back(corner);
    for (int i = 0; i < 3; ++i) {
      const float centre = i == 2 ? 0.5f : ((corner >> i) & 1) == 1 ? 3.0f : -3.0f;
      result.rows[row * 3 + i] = centre + noise * (random.uniform() - 0.5f);
    }
  }
  return result;
}

TEST(ClusterRows, FindsClustersThatLieApart) {
  const Corners given = corners(200, 0.4f);
  const std::vector<int32_t> found = cluster_rows(given.rows, 4, 1);
  std::set<std::pair<int, int32_t>> pairs;
  for (size_t row = 0; row < found.size(); ++row) pairs.insert({given.corner[row], found[row]});
  EXPECT_EQ(pairs.size(), 4u);  // one to one
  EXPECT_EQ(cluster_rows(given.rows, 4, 1), found);
}

TEST(ClusterRows, FewerRowsThanClusters) {
  const Tensor rows({3, 2}, {1, 2, 1, 2, 5, 6});
  const std::vector<int32_t> found = cluster_rows(rows, 8, 1);
  EXPECT_EQ(found[0], found[1]);
  EXPECT_NE(found[0], found[2]);
}

TEST(ClusterRows, RefusesWhatHasNoRows) {
  EXPECT_THROW(cluster_rows(Tensor({4}), 2, 1), InvalidArgument);
  EXPECT_THROW(cluster_rows(Tensor({0, 4}), 2, 1), InvalidArgument);
  EXPECT_THROW(cluster_rows(Tensor({2, 2}), 0, 1), InvalidArgument);
  EXPECT_THROW(cluster_rows(Tensor({1, 2}, {1.0f, NAN}), 1, 1), InvalidArgument);
}

TEST(TwoTierEmbedding, EveryRowHasIndicesOfItsOwn) {
  const Corners given = corners(100, 0.2f);
  const EmbeddingCompression result = two_tier_embedding_compression(given.rows, 2, nullptr);
  EXPECT_EQ(result.codebooks.shape(), (Shape{4, 4}));
  ASSERT_EQ(result.blocks.size(), 100u);
  ASSERT_EQ(result.indices.size(), 300u);
  for (int64_t row = 0; row < 100; ++row) {
    for (int64_t i = 0; i < 3; ++i) {
      const int64_t place =
          result.blocks[static_cast<size_t>(row)] * 4 + result.indices[static_cast<size_t>(row * 3 + i)];
      EXPECT_EQ(result.restored[row * 3 + i], result.codebooks[place]);
      // Three groups of values a block and four places: at most the noise is lost.
      EXPECT_NEAR(result.restored[row * 3 + i], given.rows[row * 3 + i], 0.2f);
    }
  }
  // Rows of one block differ: the reference gives them all the last one's indices.
  std::set<std::vector<int32_t>> of_block_0;
  for (size_t row = 0; row < 100; ++row) {
    if (result.blocks[row] != 0) continue;
    of_block_0.insert({result.indices.begin() + static_cast<int64_t>(row) * 3,
                       result.indices.begin() + static_cast<int64_t>(row) * 3 + 3});
  }
  EXPECT_GT(of_block_0.size(), 1u);
}

TEST(TwoTierEmbedding, CodebooksLieOnTheQuantizersGrid) {
  const auto quantizer = quant::get_quantizer("quantized_bits(5,2,1,alpha=1.0)");
  const EmbeddingCompression result = two_tier_embedding_compression(corners(50, 0.2f).rows, 3, quantizer);
  EXPECT_EQ(quantizer->quantize(result.codebooks).real, result.codebooks);
  for (int64_t block = 0; block < 8; ++block) {
    for (int64_t i = 1; i < 8; ++i) EXPECT_LE(result.codebooks[block * 8 + i - 1], result.codebooks[block * 8 + i]);
  }
  EXPECT_THROW(two_tier_embedding_compression(Tensor({2, 2}), 9, nullptr), InvalidArgument);
  EXPECT_THROW(two_tier_embedding_compression(Tensor({2, 2}), 0, nullptr), InvalidArgument);
}

}  // namespace
}  // namespace nibble::transform
