// What the gradient of a learned step is scaled by.
#include "nibble/quant/affine/learned_step.h"

#include <gtest/gtest.h>

#include <cmath>

#include "nibble/core/error.h"

namespace nibble::affine {
namespace {

struct Case {
  const char* name;
  GradientElements counted;
  ChannelLayout layout;
  int64_t samples;
  int64_t elements;
};

class Elements : public ::testing::TestWithParam<Case> {};

TEST_P(Elements, AreCounted) {
  const Case& c = GetParam();
  EXPECT_EQ(gradient_elements(c.counted, c.layout, c.samples), c.elements);
}

constexpr auto kShared = GradientElements::kShared;
constexpr auto kTensor = GradientElements::kTensor;

// A kernel of (3, 3, 2, 4); 5 samples of (6, 6, 4).
INSTANTIATE_TEST_SUITE_P(Rows, Elements,
                         ::testing::Values(Case{"Weights", kShared, per_tensor(Shape{3, 3, 2, 4}), 1, 72},
                                           Case{"WeightsPerChannel", kShared, per_axis(Shape{3, 3, 2, 4}, -1), 1, 18},
                                           Case{"WeightsByTheTensor", kTensor, per_axis(Shape{3, 3, 2, 4}, -1), 1, 72},
                                           Case{"FeaturesOfASample", kShared, per_tensor(Shape{5, 6, 6, 4}), 5, 144},
                                           Case{"FeaturesOfAChannel", kShared, per_axis(Shape{5, 6, 6, 4}, -1), 5, 36},
                                           Case{"WholeBatch", kTensor, per_tensor(Shape{5, 6, 6, 4}), 5, 720},
                                           Case{"WholeBatchOfAllChannels", kTensor, per_axis(Shape{5, 6, 6, 4}, -1), 5,
                                                720},
                                           Case{"ANumberASample", kShared, per_axis(Shape{5, 4}, -1), 5, 1}),
                         [](const auto& row) { return row.param.name; });

TEST(GradientScale, IsOneOverTheRootOfElementsTimesTheHighestCode) {
  EXPECT_DOUBLE_EQ(learned_step_gradient_scale(gradient_elements(kShared, per_axis(Shape{3, 3, 2, 4}, -1), 1), 7),
                   1.0 / std::sqrt(18.0 * 7));
  EXPECT_THROW(learned_step_gradient_scale(0, 7), InvalidArgument);
  EXPECT_THROW(gradient_elements(kShared, per_tensor(Shape{4}), 0), InvalidArgument);
}

}  // namespace
}  // namespace nibble::affine
