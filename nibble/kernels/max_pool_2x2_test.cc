#include "nibble/kernels/max_pool_2x2.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <tuple>
#include <vector>

#include "hwy/tests/hwy_gtest.h"
#include "nibble/core/philox.h"

namespace nibble::kernels {
namespace {

class MaxPool2x2 : public hwy::TestWithParamTarget {};
HWY_TARGET_INSTANTIATE_TEST_SUITE_P(MaxPool2x2);

struct Geometry {
  int64_t batch, height, width, channels;
  size_t elements() const { return static_cast<size_t>(batch * height * width * channels); }
  size_t cells() const { return static_cast<size_t>(batch * (height / 2) * (width / 2) * channels); }
};

const Geometry kGeometries[] = {
    {1, 2, 2, 1},  {1, 1, 1, 3},  {2, 3, 5, 7},    {3, 4, 6, 8},  {1, 5, 4, 15},  {2, 4, 4, 16}, {1, 6, 7, 17},
    {1, 2, 3, 24}, {0, 4, 4, 16}, {2, 28, 28, 32}, {1, 4, 4, 33}, {1, 4, 4, 128}, {1, 7, 7, 31},
};

// Few different values, so that ties are common; now and then something special.
std::vector<float> samples(size_t count, bool specials) {
  RandomStream random({.seed = 5});
  std::vector<float> x(count);
  for (float& v : x) {
    const uint32_t draw = random.below(64);
    v = static_cast<float>(static_cast<int>(random.below(5)) - 2) * 0.25f;
    if (!specials) continue;
    if (draw == 0) v = std::numeric_limits<float>::quiet_NaN();
    if (draw == 1) v = std::numeric_limits<float>::infinity();
    if (draw == 2) v = -std::numeric_limits<float>::infinity();
    if (draw == 3) v = -0.0f;
  }
  return x;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

TEST_P(MaxPool2x2, ForwardIsTheScalarOne) {
  for (const Geometry& g : kGeometries) {
    const auto x = samples(g.elements(), true);
    std::vector<float> y(g.cells() + 1, 7.0f), expected(y), without_argmax(y);
    std::vector<uint8_t> argmax(g.cells() + 1, 9), expected_argmax(argmax);
    max_pool_2x2_forward(x.data(), y.data(), argmax.data(), g.batch, g.height, g.width, g.channels);
    max_pool_2x2_forward(x.data(), without_argmax.data(), nullptr, g.batch, g.height, g.width, g.channels);
    scalar::max_pool_2x2_forward(x.data(), expected.data(), expected_argmax.data(), g.batch, g.height, g.width,
                                 g.channels);
    EXPECT_TRUE(same_bits(y, expected)) << g.channels << " channels";
    EXPECT_TRUE(same_bits(without_argmax, expected)) << g.channels << " channels";
    EXPECT_EQ(argmax, expected_argmax) << g.channels << " channels";
  }
}

TEST_P(MaxPool2x2, GradientIsTheScalarOneAndWritesEverything) {
  for (const Geometry& g : kGeometries) {
    const auto x = samples(g.elements(), false);
    const auto upstream = samples(g.cells(), true);
    std::vector<float> y(g.cells());
    std::vector<uint8_t> argmax(g.cells());
    max_pool_2x2_forward(x.data(), y.data(), argmax.data(), g.batch, g.height, g.width, g.channels);
    std::vector<float> dx(g.elements() + 1, 7.0f), expected(g.elements() + 1, -7.0f);
    expected.back() = 7.0f;
    max_pool_2x2_gradient(upstream.data(), argmax.data(), dx.data(), g.batch, g.height, g.width, g.channels);
    scalar::max_pool_2x2_gradient(upstream.data(), argmax.data(), expected.data(), g.batch, g.height, g.width,
                                  g.channels);
    EXPECT_TRUE(same_bits(dx, expected)) << g.channels << " channels";
  }
}

TEST_P(MaxPool2x2, FirstMaximumWinsATie) {
  const float x[] = {1, 1, 1, 1, /* second image */ 0, 2, 2, 1};
  float y[2];
  uint8_t argmax[2];
  max_pool_2x2_forward(x, y, argmax, 2, 2, 2, 1);
  EXPECT_EQ(y[0], 1);
  EXPECT_EQ(argmax[0], 0);
  EXPECT_EQ(y[1], 2);
  EXPECT_EQ(argmax[1], 1);
}

TEST_P(MaxPool2x2, ANaNIsTheMaximum) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> x(2 * 2 * 16, 1.0f), y(16);
  std::vector<uint8_t> argmax(16);
  for (size_t c = 0; c < 16; ++c) x[(c % 4) * 16 + c] = nan;
  max_pool_2x2_forward(x.data(), y.data(), argmax.data(), 1, 2, 2, 16);
  for (size_t c = 0; c < 16; ++c) {
    EXPECT_TRUE(std::isnan(y[c]));
    EXPECT_EQ(argmax[c], c % 4);
  }
}

}  // namespace
}  // namespace nibble::kernels
