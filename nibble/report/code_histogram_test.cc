#include "nibble/report/code_histogram.h"

#include <gtest/gtest.h>

#include <limits>

#include "nibble/core/error.h"

namespace nibble::report {
namespace {

using quant::Encoded;

Encoded affine(std::vector<int32_t> codes, int bit_width = 4, int32_t zero_point = 0) {
  Encoded encoded;
  encoded.codes = std::move(codes);
  encoded.zero_point = zero_point;
  encoded.bit_width = bit_width;
  encoded.scale = Tensor::scalar(0.5f);
  return encoded;
}

struct Case {
  const char* name;
  Encoded encoded;
  std::vector<CodeBin> bins;
  int64_t zeros, used_codes;
};

void PrintTo(const Case& row, std::ostream* out) { *out << row.name; }

std::vector<Case> cases() {
  Encoded powers = affine({-2, 0, -2, -1});
  powers.kind = Encoded::Kind::kPowerOfTwo;
  powers.signs = {-1, -1, 1, 1};
  return {
      {"OneCodeIsOneBin", affine({3, 3}), {{3, 3, 1, 2}}, 0, 1},
      {"CodesBetweenAreListedWithCountZero", affine({-1, 1, 1}), {{-1, -1, 1, 1}, {0, 0, 1, 0}, {1, 1, 1, 2}}, 0, 2},
      {"ZeroPointNamesTheZeros", affine({2, 3, 2}, 4, 2), {{2, 2, 1, 2}, {3, 3, 1, 1}}, 2, 2},
      {"PowersAreInTheOrderOfTheirValues",
       powers,  // -2^0, -2^-1, -2^-2, 2^-2, 2^-1
       {{0, 0, -1, 1}, {-1, -1, -1, 0}, {-2, -2, -1, 1}, {-2, -2, 1, 1}, {-1, -1, 1, 1}},
       0,
       4},
  };
}

class Histogram : public testing::TestWithParam<Case> {};

TEST_P(Histogram, HasTheseBins) {
  const Case& row = GetParam();
  const CodeHistogram histogram = code_histogram(row.encoded);
  ASSERT_EQ(histogram.bins.size(), row.bins.size());
  for (size_t i = 0; i < row.bins.size(); ++i) {
    EXPECT_EQ(histogram.bins[i].first, row.bins[i].first) << i;
    EXPECT_EQ(histogram.bins[i].last, row.bins[i].last) << i;
    EXPECT_EQ(histogram.bins[i].sign, row.bins[i].sign) << i;
    EXPECT_EQ(histogram.bins[i].count, row.bins[i].count) << i;
  }
  EXPECT_EQ(histogram.total, static_cast<int64_t>(row.encoded.codes.size()));
  EXPECT_EQ(histogram.zeros, row.zeros);
  EXPECT_EQ(histogram.used_codes, row.used_codes);
}

INSTANTIATE_TEST_SUITE_P(Rows, Histogram, testing::ValuesIn(cases()), [](const auto& row) { return row.param.name; });

// Every element is in exactly one bin, bins touch, and there are not too many of them.
TEST(CodeHistogram, WideCodesShareBins) {
  for (const std::vector<int32_t>& codes :
       {std::vector<int32_t>{-32768, -1, 0, 5, 32767},
        std::vector<int32_t>{std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()},
        std::vector<int32_t>{0, 256}, std::vector<int32_t>{-129, 127}}) {
    const CodeHistogram histogram = code_histogram(affine(codes, 32));
    ASSERT_LE(histogram.bins.size(), static_cast<size_t>(kMaxCodeBins));
    EXPECT_EQ(histogram.bins.front().first, codes.front());
    EXPECT_EQ(histogram.bins.back().last, codes.back());
    int64_t count = 0;
    for (size_t i = 0; i < histogram.bins.size(); ++i) {
      count += histogram.bins[i].count;
      if (i > 0) {
        EXPECT_EQ(int64_t{histogram.bins[i].first}, int64_t{histogram.bins[i - 1].last} + 1);
      }
    }
    EXPECT_EQ(count, static_cast<int64_t>(codes.size()));
  }
}

TEST(CodeHistogram, ScalesSpanAllChannels) {
  Encoded encoded = affine({1, 2});
  encoded.scale = Tensor(Shape{1, 3}, {0.5f, 0.125f, 0.25f});
  const CodeHistogram histogram = code_histogram(encoded);
  EXPECT_EQ(histogram.scale_min, 0.125);
  EXPECT_EQ(histogram.scale_max, 0.5);
}

TEST(CodeHistogram, RefusesWhatHasNoCodesOrWrongSigns) {
  EXPECT_THROW(code_histogram(affine({})), InvalidArgument);
  Encoded powers = affine({1, 2});
  powers.kind = Encoded::Kind::kPowerOfTwo;
  EXPECT_THROW(code_histogram(powers), InvalidArgument);
  powers.signs = {1, 0};
  EXPECT_THROW(code_histogram(powers), InvalidArgument);
}

}  // namespace
}  // namespace nibble::report
