// Codebooks: recorded tables, and the clustering on data whose answer is known.
#include "nibble/transform/codebook.h"

#include <gtest/gtest.h>

#include "nibble/core/error.h"
#include "nibble/core/philox.h"
#include "support/golden.h"
#include "support/golden_rows.h"

namespace nibble::transform {
namespace {

using nlohmann::json;

std::vector<float> floats(const json& tensor) {
  const Tensor values = testing::golden_tensor(tensor);
  return {values.data().begin(), values.data().end()};
}

TEST(CodebookGolden, InOutTables) {
  const json document = testing::golden_json("utils/codebook");
  testing::each_row("codebook", document.is_null() ? document : document.at("cases"), [](const json& row) {
    const auto quantizer = quant::get_quantizer(row.at("quantizer").get<std::string>());
    const InOutTable table = in_out_table(floats(row.at("sorted_centroids")), *quantizer);
    if (table.in != floats(row.at("in_table"))) return std::string("in_table");
    if (table.out != row.at("out_table").get<std::vector<int32_t>>()) return std::string("out_table");
    return std::string(quantizer->range() == floats(row.at("quantizer_range")) ? "" : "range");
  });
}

TEST(KMeans, FindsClustersThatLieApart) {
  std::vector<float> values;
  RandomStream random({.seed = 2});
  for (int i = 0; i < 300; ++i) values.push_back(static_cast<float>(i % 3) * 10.0f - 10.0f + random.uniform() - 0.5f);
  const std::vector<float> centroids = k_means(values, 3, 1);
  ASSERT_EQ(centroids.size(), 3u);
  for (size_t c = 0; c < 3; ++c) EXPECT_NEAR(centroids[c], static_cast<float>(c) * 10.0f - 10.0f, 0.1);
  EXPECT_EQ(k_means(values, 3, 1), centroids);
  EXPECT_EQ(k_means(std::vector<float>{2, 2, 2}, 4, 1), std::vector<float>{2});
}

TEST(CompressWeights, EachSliceHasItsOwnTable) {
  Tensor weights(Shape{2, 50});
  RandomStream random({.seed = 3});
  for (int64_t i = 0; i < 100; ++i) weights[i] = (random.uniform() - 0.5f) * (i < 50 ? 1.0f : 20.0f);
  const WeightCompression result =
      compress_weights(weights, 3, 0, quant::get_quantizer("quantized_bits(8,4,1,alpha=1)"));
  EXPECT_EQ(result.codebook.shape(), (Shape{2, 8}));
  double error = 0;
  for (int64_t i = 0; i < 100; ++i) {
    EXPECT_EQ(result.restored[i], result.codebook[(i / 50) * 8 + result.indices[static_cast<size_t>(i)]]);
    EXPECT_EQ(result.restored[i] * 8, std::round(result.restored[i] * 8));  // on the quantizer's grid
    error = std::max(error, static_cast<double>(std::abs(result.restored[i] - weights[i])));
  }
  EXPECT_LT(error, 2.5);
  EXPECT_THROW(compress_weights(weights, 9, 0, nullptr), InvalidArgument);
  EXPECT_THROW(compress_weights(weights, 3, 2, nullptr), InvalidArgument);
}

TEST(BinaryToThermometer, OnesBelowTheLevel) {
  const Tensor y = binary_to_thermometer(Tensor(Shape{2}, {0.0f, 192.0f}), 4, 256.0f);
  EXPECT_EQ(y, Tensor(Shape({2, 4}), {0, 0, 0, 0, 1, 1, 1, 0}));
  const Tensor rest = binary_to_thermometer(Tensor(Shape{1}, {160.0f}), 4, 256.0f, true);
  EXPECT_EQ(rest, Tensor(Shape({1, 4}), {1, 1, 0.5f, 0}));
  EXPECT_THROW(binary_to_thermometer(Tensor(Shape{1}, {256.0f}), 4, 256.0f), InvalidArgument);
}

}  // namespace
}  // namespace nibble::transform
