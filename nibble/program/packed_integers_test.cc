// Packed integers read back, take the bits they should, and refuse what does not fit.
#include "nibble/program/packed_integers.h"

#include <gtest/gtest.h>

namespace nibble::program {
namespace {

struct LinesCase {
  const char* name;
  std::vector<int64_t> values, first;
  int bend_bits;
};

class PackedLines : public testing::TestWithParam<LinesCase> {};

TEST_P(PackedLines, ReadBackWithFewBits) {
  const LinesCase& row = GetParam();
  const nlohmann::json packed = pack_lines(row.values, row.first);
  EXPECT_EQ(unpack_lines(packed, row.first), row.values);
  EXPECT_EQ(packed["bends"]["bits"], row.bend_bits);
}

INSTANTIATE_TEST_SUITE_P(Table, PackedLines,
                         testing::Values(LinesCase{"Straight", {5, 15, 25, 35, 45}, {0, 5}, 1},
                                         LinesCase{"NearlyStraight", {-70000, -60001, -50001, -40002}, {0, 4}, 2},
                                         LinesCase{"TwoChannels", {1, 2, 3, 100, 90, 80}, {0, 3, 6}, 1},
                                         LinesCase{"Crooked", {0, 1, 1000, 1001}, {0, 4}, 11},
                                         LinesCase{"EmptyChannels", {7}, {0, 0, 1, 1}, 1},
                                         LinesCase{"Nothing", {}, {0, 0}, 1}),
                         [](const auto& row) { return row.param.name; });

TEST(PackedLines, WhatDoesNotFitIsRefused) {
  const nlohmann::json packed = pack_lines({5, 15, 25, 35}, {0, 4});
  for (const std::vector<int64_t>& first : std::vector<std::vector<int64_t>>{
           {}, {0}, {1, 4}, {0, 3}, {0, 5}, {0, 2, 4}, {0, 4, 3}, {0, 4, 0}, {0, int64_t{1} << 40}}) {
    EXPECT_THROW(unpack_lines(packed, first), CorruptFile) << testing::PrintToString(first);
  }
}

TEST(PackedLines, SumsThatRunOverAreRefused) {
  nlohmann::json packed = pack_lines({0, 1, 2}, {0, 3});
  packed["starts"] = pack(std::vector<int64_t>{INT64_MAX});
  EXPECT_THROW(unpack_lines(packed, {0, 3}), CorruptFile);
}

TEST(PackedWeights, SignsTakeOneBit) {
  const std::vector<int32_t> weights = {1, -1, -1, 1, 1, 1, -1, 1, -1};
  const nlohmann::json packed = pack_weights(weights, 2);
  EXPECT_EQ(packed["data"].get_binary().size(), 2u);
  EXPECT_EQ(unpack_weights(packed).values, weights);
  EXPECT_EQ(unpack_weights(packed).bits, 2);
}

TEST(PackedWeights, FourBitsTakeHalfAByte) {
  std::vector<int32_t> weights;
  for (int32_t i = 0; i < 100; ++i) weights.push_back(i % 16 - 8);
  const nlohmann::json packed = pack_weights(weights, 4);
  EXPECT_EQ(packed["data"].get_binary().size(), 50u);
  EXPECT_EQ(unpack_weights(packed).values, weights);
}

}  // namespace
}  // namespace nibble::program
