// Codes that inputs of any size end at.
#include "nibble/program/outermost_codes.h"

#include <gtest/gtest.h>

#include <cfloat>

#include "nibble/program/affine_grid.h"

namespace nibble::program {
namespace {

struct Case {
  const char* name;
  const char* quantizer;
  int32_t lowest, highest;
};

class OutermostCodes : public testing::TestWithParam<Case> {};

TEST_P(OutermostCodes, AreThoseOfTheLargestFloats) {
  register_affine_grids();
  const auto quantizer = quant::get_quantizer(GetParam().quantizer);
  const auto codes = outermost_codes(*quantizer);
  ASSERT_TRUE(codes);
  EXPECT_EQ(codes->lowest, GetParam().lowest);
  EXPECT_EQ(codes->highest, GetParam().highest);
}

// A grid that reaches beyond 1e30 has all of its codes nevertheless.
TEST_P(OutermostCodes, AreReachedOnAGrid) {
  register_affine_grids();
  const auto quantizer = quant::get_quantizer(GetParam().quantizer);
  const auto codes = code_grid(*quantizer);
  if (!codes) return;
  const quant::Encoded ends = quantizer->encode(Tensor(Shape{2}, {-FLT_MAX, FLT_MAX}));
  EXPECT_EQ(ends.codes, (std::vector<int32_t>{codes->lowest, codes->highest}));
}

INSTANTIATE_TEST_SUITE_P(Table, OutermostCodes,
                         testing::Values(Case{"Range", "affine_range(-1,1,8,True,False)", -127, 127},
                                         Case{"RangeBeyond", "affine_range(-8e31,8e31,8,True,False)", -127, 127},
                                         Case{"RangeAbove", "affine_range(0,3e38,8,False,False)", 0, 255},
                                         Case{"StepBeyond", "affine_step(1e30,-8,7)", -8, 7},
                                         Case{"Clip", "affine_clip(1e30,4)", 0, 15},
                                         Case{"ZeroRange", "affine_range(0,0,8,False,False)", 0, 0},
                                         Case{"Bits", "quantized_bits(8,0,1,alpha=1.0)", -127, 127},
                                         Case{"CoarseBits", "quantized_bits(8,0,1,alpha=1e21)", -127, 127},
                                         Case{"Relu", "quantized_relu(4,2)", 0, 15}),
                         [](const auto& row) { return row.param.name; });

TEST(OutermostCodes, AreNoneOfScalesBeyondAllData) {
  EXPECT_FALSE(outermost_codes(*quant::get_quantizer("quantized_bits(8,0,1,alpha=1e32)")));
  EXPECT_FALSE(outermost_codes(*quant::get_quantizer("quantized_po2(4,1)")));
}

}  // namespace
}  // namespace nibble::program
