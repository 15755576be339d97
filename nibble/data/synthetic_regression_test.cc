#include "nibble/data/synthetic_regression.h"

#include <gtest/gtest.h>

#include <numeric>

#include "nibble/data/catalog.h"

namespace nibble::data {
namespace {

TEST(SyntheticRegression, IsTheFormula) {
  const Dataset dataset = load_dataset("synthetic_regression");
  ASSERT_EQ(dataset.train.count(), 1024);
  ASSERT_EQ(dataset.test.count(), 256);
  EXPECT_EQ(dataset.train.shape(), (Shape{8}));
  EXPECT_EQ(dataset.train.target_shape(), (Shape{1}));
  EXPECT_EQ(dataset.num_classes, 0);
  std::vector<int64_t> all(1024);
  std::iota(all.begin(), all.end(), 0);
  std::vector<float> x(1024 * 8);
  dataset.train.gather(all, x);
  for (size_t i = 0; i < 1024; ++i) {
    const float* row = x.data() + 8 * i;
    const float y = row[0] * (2 - row[0] * row[0]) + row[1] * row[2] + row[3] * row[3] / 2 - row[4] / 2;
    EXPECT_NEAR(dataset.train.targets()[static_cast<int64_t>(i)], y, 1e-5);
  }
}

TEST(SyntheticRegression, IsTheSameEachTimeAndItsPartsDiffer) {
  const Dataset a = synthetic_regression(), b = synthetic_regression();
  EXPECT_EQ(a.train.targets(), b.train.targets());
  EXPECT_NE(a.train.targets()[0], a.test.targets()[0]);
}

}  // namespace
}  // namespace nibble::data
