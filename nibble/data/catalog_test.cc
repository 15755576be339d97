#include "nibble/data/catalog.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "nibble/core/error.h"
#include "tests/support/golden.h"

namespace nibble::data {
namespace {
namespace fs = std::filesystem;

using Counts = std::vector<int>;

Counts count_classes(const Samples& samples, int num_classes) {
  Counts counts(static_cast<size_t>(num_classes));
  for (const int32_t label : samples.labels()) ++counts[static_cast<size_t>(label)];
  return counts;
}

// Counts per class, from the README beside each real data set.
struct RealCase {
  const char* test_name;
  const char* name;
  const char* folder;
  const char* holdout;
  Shape shape;
  Counts train, test;  // train empty: not stated in the README
};

class RealData : public ::testing::TestWithParam<RealCase> {};
TEST_P(RealData, HasThePublishedCountsPerClass) {
  const RealCase& c = GetParam();
  const fs::path root = testing::shared_dir() / "data";
  if (!fs::exists(root / c.folder)) GTEST_SKIP() << "no real " << c.name << " at hand";
  const Dataset dataset = load_dataset(c.name, {.holdout = c.holdout, .data_dir = root});
  EXPECT_EQ(dataset.name, c.name);
  EXPECT_EQ(dataset.source, (root / c.folder).string());
  EXPECT_EQ(dataset.train.shape(), c.shape);
  EXPECT_EQ(dataset.test.shape(), c.shape);
  if (!c.train.empty()) {
    EXPECT_EQ(count_classes(dataset.train, dataset.num_classes), c.train);
  }
  if (!c.test.empty()) {
    EXPECT_EQ(count_classes(dataset.test, dataset.num_classes), c.test);
  }
}
INSTANTIATE_TEST_SUITE_P(
    Readme, RealData,
    ::testing::Values(
        RealCase{"Mnist",
                 "mnist",
                 "mnist",
                 "",
                 {28, 28, 1},
                 {5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949},
                 {980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009}},
        RealCase{"FashionMnist", "fashion_mnist", "fashion-mnist", "", {28, 28, 1}, Counts(10, 6000), Counts(10, 1000)},
        RealCase{"Cifar10",
                 "cifar10",
                 "cifar-10",
                 "",
                 {32, 32, 3},
                 Counts(10, 5000),
                 {103, 89, 100, 103, 90, 86, 112, 102, 106, 109}},
        RealCase{"Cifar10HoldoutBatch5", "cifar10", "cifar-10", "batch5", {32, 32, 3}, {}, {}},
        RealCase{"Digits",
                 "digits",
                 "digits",
                 "",
                 {8, 8, 1},
                 {376, 389, 380, 389, 387, 376, 377, 387, 380, 382},
                 {178, 182, 177, 183, 181, 182, 181, 179, 174, 180}}),
    [](const auto& row) { return row.param.test_name; });

}  // namespace
}  // namespace nibble::data
