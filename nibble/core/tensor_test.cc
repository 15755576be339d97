#include "nibble/core/tensor.h"

#include <gtest/gtest.h>

#include <cmath>

#include "nibble/core/error.h"

namespace nibble {
namespace {

TEST(Tensor, StartsAsTheScalarZero) {
  EXPECT_EQ(Tensor(), Tensor::scalar(0.0f));
  EXPECT_EQ(Tensor().size(), 1);
}

TEST(Tensor, FillsAndIndexesRowMajor) {
  Tensor tensor(Shape{2, 3}, 1.5f);
  EXPECT_EQ(tensor.size(), 6);
  tensor[4] = 2.0f;
  EXPECT_EQ(tensor.data()[4], 2.0f);
  EXPECT_EQ(tensor[5], 1.5f);
}

TEST(Tensor, DataMustFitTheShape) {
  EXPECT_THROW(Tensor(Shape{2, 2}, std::vector<float>(3)), InvalidArgument);
  EXPECT_THROW(Tensor(Shape{Shape::kFree}), InvalidArgument);
}

TEST(Tensor, ReshapingKeepsTheDataAndTheCount) {
  const Tensor tensor(Shape{2, 2}, {1, 2, 3, 4});
  EXPECT_EQ(tensor.reshaped(Shape{4}), Tensor(Shape{4}, {1, 2, 3, 4}));
  EXPECT_THROW(tensor.reshaped(Shape{3}), InvalidArgument);
}

TEST(Tensor, ComparesShapeAndValues) {
  EXPECT_NE(Tensor(Shape{1, 2}), Tensor(Shape{2, 1}));
  EXPECT_EQ(Tensor(Shape{1}, {-0.0f}), Tensor(Shape{1}, {0.0f}));
  EXPECT_NE(Tensor::scalar(NAN), Tensor::scalar(NAN));
}

}  // namespace
}  // namespace nibble
