// Integer probabilities against softmax in double.
#include "nibble/program/integer_softmax.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "nibble/core/philox.h"

namespace nibble::program {
namespace {

std::vector<double> real_softmax(const std::vector<int32_t>& row, float scale) {
  const int64_t highest = *std::max_element(row.begin(), row.end());
  std::vector<double> p;
  double sum = 0.0;
  for (const int32_t x : row) {
    p.push_back(std::exp(static_cast<double>(x - highest) * static_cast<double>(scale)));
    sum += p.back();
  }
  for (double& v : p) v /= sum;
  return p;
}

// The logits' class is the probabilities', and order stays.
void expect_order(const std::vector<int32_t>& row, const std::vector<int32_t>& p) {
  const int32_t highest = *std::max_element(row.begin(), row.end()), largest = *std::max_element(p.begin(), p.end());
  for (size_t i = 0; i < row.size(); ++i) {
    ASSERT_GE(p[i], 0);
    ASSERT_LE(p[i], kProbabilities.high);
    ASSERT_EQ(row[i] == highest, p[i] == largest) << i;
    if (i > 0 && row[i - 1] <= row[i]) {
      ASSERT_LE(p[i - 1], p[i]) << i;
    }
  }
}

struct Case {
  const char* name;
  size_t logits;
  int bits;  // of a logit
  float scale;
};

class IntegerSoftmax : public testing::TestWithParam<Case> {};

TEST_P(IntegerSoftmax, IsWithinItsBound) {
  const Case& c = GetParam();
  const Softmax softmax = softmax_of_scale(c.scale);
  double worst = 0.0;
  std::vector<int32_t> row(c.logits), p(c.logits);
  for (uint32_t n = 0; n < (c.logits > 1000 ? 20u : 3000u); ++n) {
    RandomStream random({3, RandomPurpose::kTest, n, static_cast<uint32_t>(c.bits)});
    // Near ones, far ones, and all but one alike.
    const int bits = n % 3 == 0 ? std::min(c.bits, 3) : c.bits;
    const uint32_t range = bits == 32 ? 0xFFFFFFFFu : (1u << bits) - 1;
    for (int32_t& x : row) {
      x = static_cast<int32_t>(random.below(range)) - (bits == 32 ? 0 : static_cast<int32_t>(range / 2));
    }
    if (n % 7 == 0) std::fill(row.begin() + 1, row.end(), row[0] - 1);
    integer_softmax(softmax, row, p);
    const std::vector<double> expected = real_softmax(row, c.scale);
    for (size_t i = 0; i < row.size(); ++i) worst = std::max(worst, std::abs(p[i] * 0x1p-16 - expected[i]));
    expect_order(row, p);
  }
  EXPECT_LE(worst, 0x1p-15);
  RecordProperty("worst_in_units_of_the_bound", std::to_string(worst * 0x1p15));
}

INSTANTIATE_TEST_SUITE_P(Table, IntegerSoftmax,
                         testing::Values(Case{"Two", 2, 8, 0.0625f}, Case{"EightBitLogits", 10, 8, 0.093f},
                                         Case{"FineAccumulators", 10, 20, 0x1p-14f},
                                         Case{"WideAccumulators", 10, 30, 0x1p-26f}, Case{"AllBits", 5, 32, 0x1p-20f},
                                         Case{"TinyScale", 4, 31, 1e-12f}, Case{"LargeScale", 4, 8, 1e6f},
                                         Case{"HugeScale", 4, 8, 1e30f}, Case{"OneStepIsAnOctave", 7, 5, 0.6931472f},
                                         Case{"Hundred", 100, 12, 0.003f}, Case{"Thousand", 1000, 8, 0.02f},
                                         Case{"MostOfTheBound", 2048, 10, 0.001f}),
                         [](const auto& row) { return row.param.name; });

TEST(IntegerSoftmax, Extremes) {
  const Softmax softmax = softmax_of_scale(1.0f);
  std::vector<int32_t> row = {INT32_MIN, INT32_MAX}, p(2);
  integer_softmax(softmax, row, p);
  EXPECT_EQ(p, (std::vector<int32_t>{0, 65535}));
  row = {-7, -7}, p = {0, 0};
  integer_softmax(softmax, row, p);
  EXPECT_EQ(p, (std::vector<int32_t>{32768, 32768}));
  std::vector<int32_t> one = {5};
  integer_softmax(softmax, one, one);
  EXPECT_EQ(one[0], 65535) << "1 has no code";
  // As many as a row may have, all but one a step below.
  std::vector<int32_t> many(static_cast<size_t>(kMostLogits), 0), of_many(many.size());
  many[12345] = 1;
  integer_softmax(softmax_of_scale(0x1p-20f), many, of_many);
  EXPECT_EQ(of_many[12345], 1);
  EXPECT_EQ(of_many[0], 0);
}

}  // namespace
}  // namespace nibble::program
