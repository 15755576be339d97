#include "nibble/data/dataset.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "nibble/core/error.h"

namespace nibble::data {
namespace {

Samples four_pixels() {
  return Samples(Shape{2, 2, 1}, std::vector<uint8_t>{0, 64, 128, 255, 16, 0, 0, 1, 2, 2, 2, 2}, {0, 1, 2});
}

TEST(Samples, GatherScalesAndSubtractsTheMeanInTheOrderAsked) {
  Samples samples = four_pixels();
  samples.set_transform(1.0f / 256, {0.5f, 0.25f, 0.0f, 1.0f});
  std::vector<float> out(8);
  const std::vector<int64_t> indices = {2, 0};
  samples.gather(indices, out);
  EXPECT_EQ(out, (std::vector<float>{2.0f / 256 - 0.5f, 2.0f / 256 - 0.25f, 2.0f / 256, 2.0f / 256 - 1.0f,  //
                                     -0.5f, 0.0f, 0.5f, 255.0f / 256 - 1.0f}));
}

TEST(Samples, FloatsAreGatheredLikeBytes) {
  Samples samples(Shape{2}, std::vector<float>{1, 2, 3, 4}, {0, 1});
  samples.set_transform(2.0f, {});
  std::vector<float> out(2);
  const std::vector<int64_t> indices = {1};
  samples.gather(indices, out);
  EXPECT_EQ(out, (std::vector<float>{6, 8}));
}

TEST(Samples, TargetsStandInPlaceOfLabels) {
  const Samples samples(Shape{1}, std::vector<float>{1, 2, 3}, Tensor(Shape{3, 2}, {1, 2, 3, 4, 5, 6}));
  EXPECT_TRUE(samples.has_targets());
  EXPECT_EQ(samples.count(), 3);
  EXPECT_TRUE(samples.labels().empty());
  EXPECT_EQ(samples.target_shape(), (Shape{2}));
  std::vector<float> out(4);
  const std::vector<int64_t> indices = {2, 0};
  samples.gather_targets(indices, out);
  EXPECT_EQ(out, (std::vector<float>{5, 6, 1, 2}));
  EXPECT_THROW(samples.gather_targets(std::vector<int64_t>{3, 0}, out), InvalidArgument);
  const Samples part = samples.slice(1, 3);
  EXPECT_EQ(part.count(), 2);
  EXPECT_EQ(part.targets(), Tensor(Shape{2, 2}, {3, 4, 5, 6}));
  EXPECT_FALSE(four_pixels().has_targets());
  EXPECT_THROW(Samples(Shape{1}, std::vector<float>{1, 2}, Tensor(Shape{2})), InvalidArgument);
  EXPECT_THROW(Samples(Shape{1}, std::vector<float>{1, 2}, Tensor(Shape{3, 1})), InvalidArgument);
}

TEST(Samples, SliceKeepsTheTransform) {
  Samples samples = four_pixels();
  samples.set_transform(0.5f, {1, 1, 1, 1});
  const Samples part = samples.slice(1, 3);
  EXPECT_EQ(part.count(), 2);
  EXPECT_EQ(part.labels()[0], 1);
  std::vector<float> out(4);
  const std::vector<int64_t> indices = {0};
  part.gather(indices, out);
  EXPECT_EQ(out, (std::vector<float>{7, -1, -1, -0.5f}));
}

TEST(Samples, MeanImageIsOverTheSamples) {
  EXPECT_EQ(four_pixels().mean_image(1.0f), (std::vector<float>{6, 22, 130.0f / 3, 86}));
  EXPECT_EQ(Samples(Shape{1}, std::vector<float>{1, 2}, {0, 0}).mean_image(2.0f), (std::vector<float>{3}));
}

TEST(Samples, RefusesWhatDoesNotFit) {
  EXPECT_THROW(Samples(Shape{2}, std::vector<uint8_t>{1}, {0}), InvalidArgument);
  Samples samples = four_pixels();
  EXPECT_THROW(samples.set_transform(1.0f, {1.0f}), InvalidArgument);
  EXPECT_THROW(samples.slice(2, 1), InvalidArgument);
  EXPECT_THROW(samples.slice(0, 4), InvalidArgument);
  std::vector<float> out(4);
  const std::vector<int64_t> past_the_end = {3}, two = {0, 1};
  EXPECT_THROW(samples.gather(past_the_end, out), InvalidArgument);
  EXPECT_THROW(samples.gather(two, out), InvalidArgument);
}

struct PreprocessingCase {
  const char* name;
  float max_value;
  float scale;
  bool has_mean;
};

class PreprocessingTable : public testing::TestWithParam<PreprocessingCase> {};
TEST_P(PreprocessingTable, SetsScaleAndMeanOfBothSplits) {
  const PreprocessingCase& c = GetParam();
  Dataset dataset{.train = four_pixels(), .test = four_pixels().slice(0, 1), .max_value = c.max_value};
  apply_preprocessing(dataset, parse_preprocessing(c.name));
  EXPECT_EQ(dataset.train.scale(), c.scale);
  EXPECT_EQ(dataset.test.scale(), c.scale);
  EXPECT_EQ(dataset.train.mean().size(), c.has_mean ? 4u : 0u);
  if (c.has_mean) {
    EXPECT_EQ(dataset.test.mean()[1], 22 * c.scale);  // the training mean, for both
  }
}
INSTANTIATE_TEST_SUITE_P(Rows, PreprocessingTable,
                         testing::Values(PreprocessingCase{"tutorial", 255, 1.0f / 256, true},
                                         PreprocessingCase{"tutorial", 16, 1.0f / 16, true},
                                         PreprocessingCase{"unit", 255, 1.0f / 255, false},
                                         PreprocessingCase{"unit", 16, 1.0f / 16, false},
                                         PreprocessingCase{"none", 255, 1.0f, false}));

TEST(ParsePreprocessing, NamesTheAllowedOnes) {
  try {
    parse_preprocessing("tutorail");
    FAIL();
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find("'tutorial'"), std::string::npos) << error.what();
  }
}

TEST(ShuffledIndices, IsAPermutationThatDependsOnSeedAndEpochOnly) {
  const std::vector<int64_t> order = shuffled_indices(1000, 7, 3);
  std::vector<int64_t> sorted = order, all(1000);
  std::sort(sorted.begin(), sorted.end());
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(sorted, all);
  EXPECT_EQ(order, shuffled_indices(1000, 7, 3));
  EXPECT_NE(order, shuffled_indices(1000, 7, 4));
  EXPECT_NE(order, shuffled_indices(1000, 8, 3));
  EXPECT_TRUE(shuffled_indices(0, 1, 1).empty());
}

TEST(ShuffledIndices, EveryPermutationOfThreeComesUpEqually) {
  std::map<std::vector<int64_t>, int> seen;
  for (int epoch = 0; epoch < 6000; ++epoch) ++seen[shuffled_indices(3, 1, epoch)];
  ASSERT_EQ(seen.size(), 6u);
  for (const auto& [order, times] : seen) EXPECT_NEAR(times, 1000, 150);  // five standard deviations
}

TEST(Batches, LastOneMayBeShorter) {
  const std::vector<int64_t> indices = {4, 2, 0, 1, 3};
  const auto parts = batches(indices, 2);
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[1][0], 0);
  EXPECT_EQ(parts[2].size(), 1u);
  EXPECT_TRUE(batches({}, 2).empty());
  EXPECT_THROW(batches(indices, 0), InvalidArgument);
}

TEST(OneHot, OneRowPerLabel) {
  const std::vector<int32_t> labels = {2, 0};
  EXPECT_EQ(one_hot(labels, 3), Tensor(Shape{2, 3}, {0, 0, 1, 1, 0, 0}));
  const std::vector<int32_t> too_large = {3}, negative = {-1};
  EXPECT_THROW(one_hot(too_large, 3), InvalidArgument);
  EXPECT_THROW(one_hot(negative, 3), InvalidArgument);
}

}  // namespace
}  // namespace nibble::data
