#include "nibble/core/shape.h"

#include <gtest/gtest.h>

#include "nibble/core/error.h"

namespace nibble {
namespace {

struct Row {
  Shape shape;
  int64_t elements;
  const char* text;
};
class FixedShape : public ::testing::TestWithParam<Row> {};
TEST_P(FixedShape, CountsAndPrints) {
  EXPECT_EQ(GetParam().shape.elements(), GetParam().elements);
  EXPECT_EQ(GetParam().shape.str(), GetParam().text);
  EXPECT_TRUE(GetParam().shape.is_fixed());
}
INSTANTIATE_TEST_SUITE_P(
    Rows, FixedShape,
    ::testing::Values(Row{{}, 1, "()"}, Row{{3}, 3, "(3,)"}, Row{{28, 28, 1}, 784, "(28, 28, 1)"},
                      Row{{int64_t{1} << 40, 0, int64_t{1} << 40}, 0, "(1099511627776, 0, 1099511627776)"},
                      Row{{int64_t{1} << 31, int64_t{1} << 31}, int64_t{1} << 62, "(2147483648, 2147483648)"}));

TEST(Shape, NegativeAxesCountFromTheLast) {
  Shape shape{2, 3, 5};
  EXPECT_EQ(shape[-1], 5);
  EXPECT_EQ(shape[0], 2);
  shape[-2] = 7;
  EXPECT_EQ(shape, (Shape{2, 7, 5}));
}

TEST(Shape, AFreeExtentHasNoCount) {
  const Shape shape{Shape::kFree, 10};
  EXPECT_FALSE(shape.is_fixed());
  EXPECT_EQ(shape.str(), "(None, 10)");
  EXPECT_THROW(shape.elements(), InvalidArgument);
}

TEST(Shape, MoreThanTwoToTheSixtyTwoElementsAreRefused) {
  EXPECT_THROW((Shape{int64_t{1} << 31, int64_t{1} << 31, 2}.elements()), InvalidArgument);
}

}  // namespace
}  // namespace nibble
