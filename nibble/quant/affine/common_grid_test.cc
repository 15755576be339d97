#include "nibble/quant/affine/common_grid.h"

#include <gtest/gtest.h>

#include <cmath>

#include "nibble/core/error.h"

namespace nibble::affine {
namespace {

TEST(CommonGrid, MultiplesStayExact) {
  const CommonGrid grid = common_grid(std::vector<float>{0.25f, 1.5f, 0.25f});
  EXPECT_EQ(grid.step, 0.25f);
  EXPECT_EQ(grid.factors, (std::vector<int64_t>{1, 6, 1}));
}

TEST(CommonGrid, OtherStepsAreNearlyMultiples) {
  const std::vector<float> steps = {0.0047f, 0.0024f, 0.0031f};
  const CommonGrid grid = common_grid(steps);
  EXPECT_EQ(grid.factors[0], int64_t{1} << 14);
  for (size_t i = 0; i < steps.size(); ++i) {
    const double off = 255.0 * (static_cast<double>(grid.step) * static_cast<double>(grid.factors[i]) - steps[i]);
    EXPECT_LT(std::abs(off), 0.01 * steps[0]);
  }
}

TEST(CommonGrid, FarApartIsRefused) {
  EXPECT_THROW(common_grid(std::vector<float>{1e-9f, 1.5f}), InvalidArgument);
  EXPECT_EQ(common_grid(std::vector<float>{0x1p-20f, 1.0f}).factors[1], int64_t{1} << 20);
}

}  // namespace
}  // namespace nibble::affine
