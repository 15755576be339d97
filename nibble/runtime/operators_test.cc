// What the recorded rows do not say: roundings by name, concatenation, tables, subtraction, refusals.
#include <gtest/gtest.h>

#include "nibble/core/error.h"
#include "nibble/runtime/curves.h"
#include "nibble/runtime/elementwise.h"
#include "nibble/runtime/pooling.h"
#include "nibble/runtime/weighted_sums.h"

namespace nibble::runtime {
namespace {

using affine::Rounding;
using Ints = std::vector<int32_t>;

struct RoundingCase {
  int64_t x;
  double factor;
  int64_t twice, once, half_even, floor;
};

TEST(Rounding, RulesPartAtHalves) {
  const RoundingCase cases[] = {
      {3, 0.5, 2, 2, 2, 1},           // 1.5
      {1, 0.5, 1, 1, 0, 0},           // 0.5
      {-1, 0.5, 0, 0, 0, -1},         // -0.5
      {-3, 0.5, -1, -1, -2, -2},      // -1.5
      {5, 0.25, 2, 1, 1, 1},          // 1.25 by way of 2.5 and 3
      {-26, 0.0568, -2, -1, -1, -2},  // -1.477 by way of -23.6 and -24
      {7, 4.0, 28, 28, 28, 28},
  };
  for (const RoundingCase& c : cases) {
    const auto product = [&](Rounding rounding) {
      return affine::multiply(c.x, affine::quantize_multiplier(c.factor, rounding), rounding);
    };
    EXPECT_EQ(product(Rounding::kGemmlowpDouble), c.twice) << c.x << " * " << c.factor;
    EXPECT_EQ(product(Rounding::kSingle), c.once) << c.x << " * " << c.factor;
    EXPECT_EQ(product(Rounding::kHalfEven), c.half_even) << c.x << " * " << c.factor;
    EXPECT_EQ(product(Rounding::kFloor), c.floor) << c.x << " * " << c.factor;
  }
}

TEST(Rounding, LargeAccumulatorsSaturate) {
  const auto factor = affine::quantize_multiplier(0x1p20, Rounding::kSingle);
  EXPECT_EQ(affine::multiply(INT64_MAX, factor, Rounding::kSingle), INT64_MAX);
  EXPECT_EQ(affine::multiply(INT64_MIN, factor, Rounding::kFloor), INT64_MIN);
  // What saturates there is x * 2^shift, which the multiplier 2^30 halves.
  EXPECT_EQ(affine::multiply(INT64_MAX, factor, Rounding::kGemmlowpDouble), 1 << 30);
  EXPECT_THROW(affine::quantize_multiplier(0x1p31), InvalidArgument);
  EXPECT_THROW(affine::multiply_int64(int64_t{1} << 47, factor), InvalidArgument);
}

TEST(Elementwise, SubtractIsAddOfTheOpposite) {
  const affine::AffineParams codes{.scale = 0.5f};
  const Ints a = {10, -20, 127, 0}, b = {4, 5, -128, 0};
  Ints y(4);
  subtract(a, b, {codes, codes, codes}, y);
  EXPECT_EQ(y, (Ints{6, -25, 127, 0}));
}

TEST(Elementwise, ConcatenationAlongAnyAxis) {
  const Ints a = {1, 2, 3, 4}, b = {5, 6};
  const CodeTensor tensors[] = {{{2, 2}, a}, {{2, 1}, b}};
  Ints y(6);
  concatenate(tensors, -1, y);
  EXPECT_EQ(y, (Ints{1, 2, 5, 3, 4, 6}));
  const CodeTensor rows[] = {{{2, 2}, a}, {{1, 2}, b}};
  concatenate(rows, 0, y);
  EXPECT_EQ(y, (Ints{1, 2, 3, 4, 5, 6}));
  EXPECT_THROW(concatenate(tensors, 0, y), InvalidArgument);
  EXPECT_THROW(concatenate(tensors, 2, y), InvalidArgument);
  EXPECT_THROW(concatenate({}, 0, y), InvalidArgument);
}

TEST(Elementwise, TablesRefuseCodesTheyLack) {
  const Ints table = {7, 8, 9}, x = {-1, 1, 0};
  Ints y(3);
  look_up(x, table, -1, y);
  EXPECT_EQ(y, (Ints{7, 9, 8}));
  EXPECT_THROW(look_up(x, table, 0, y), InvalidArgument);
}

TEST(Operators, ShapesThatDoNotFitAreRefused) {
  const Ints x(48), w(27), bias(2);
  Ints y(48);
  WeightedSum sum{{{1, 3, 3, 3}, w}, {}, 0, {{{1 << 30, 1}}, Rounding::kSingle, 0, {-128, 127}}};
  const Window same{.before = {1, 1}, .after = {1, 1}};
  const CodeTensor image{{1, 4, 4, 3}, x};
  EXPECT_THROW(convolution({{1, 4, 4, 2}, x}, sum, same, y), InvalidArgument);      // codes do not fit the shape
  EXPECT_THROW(convolution(image, sum, same, y), InvalidArgument);                  // 16 results, not 48
  EXPECT_THROW(convolution(image, sum, {.stride = {0, 1}}, y), InvalidArgument);    // no stride
  EXPECT_THROW(convolution(image, sum, {.dilation = {9, 1}}, y), InvalidArgument);  // does not fit once
  sum.bias = bias;
  EXPECT_THROW(convolution(image, sum, same, std::span(y).first(16)), InvalidArgument);
  sum.bias = {};
  EXPECT_NO_THROW(convolution(image, sum, same, std::span(y).first(16)));
  sum.weights.shape = {3, 9};
  EXPECT_THROW(dense({{4, 12}, x}, sum, y), InvalidArgument);
  EXPECT_THROW(average_pool(image, {.size = {2, 2}, .before = {2, 2}}, {-128, 127}, y), InvalidArgument);
}

TEST(Curves, RefuseWhatTheirRuleCannotDo) {
  const Ints wide = {300}, row(5000);
  Ints y(1), long_row(5000);
  EXPECT_THROW(logistic(wide, {}, y), InvalidArgument);
  EXPECT_THROW(softmax({{1, 5000}, row}, 0.1f, 1.0f, long_row), Unsupported);
  EXPECT_THROW(softmax({{}, wide}, 0.1f, 1.0f, y), InvalidArgument);
  EXPECT_THROW(tanh(Ints{0}, {.scale = 1e-9f}, y), Unsupported);
}

}  // namespace
}  // namespace nibble::runtime
