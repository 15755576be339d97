// Sums over a batch do not depend on the number of threads: not even sums that lose everything in another order.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "nibble/train/fused_ops.h"

namespace nibble::train {
namespace {

constexpr int64_t kSlices = 7;

struct Sums {
  at::Tensor moments, dweights, dbias;
};

// y = x * w + b of images of `height` pixels, where slice s of the batch has x = values[s] everywhere; and the gradient
// of the sum of all y.
Sums sums_with(int threads, const std::vector<float>& values, int64_t height) {
  const int before = at::get_num_threads();
  at::set_num_threads(threads);
  std::vector<float> x;
  for (const float value : values) x.insert(x.end(), static_cast<size_t>(kLargestSlice * height), value);
  ConvolutionGeometry geometry;
  geometry.in_height = geometry.out_height = height;
  geometry.has_bias = true;
  ConvolutionMachine machine(geometry, false);
  const at::Tensor weights = at::ones({1, 1, 1, 1}).requires_grad_(), bias = at::zeros({1}).requires_grad_();
  const Flow input{at::tensor(x).reshape({-1, height, 1, 1}), {}, {}, nullptr};
  const Flow output = fused_convolution(machine, input, nullptr, weights, bias, {.gives_moments = true});
  output.value.sum().backward();
  at::set_num_threads(before);
  return {output.sum.detach(), weights.grad(), bias.grad()};
}

// One pixel: matrix products; more: oneDNN's convolutions.
class ThreadOrder : public testing::TestWithParam<int64_t> {};

TEST_P(ThreadOrder, SumsAreThoseOfOneThread) {
  // Added from left to right, the large values hide the first ones; then they are gone.
  const std::vector<float> values = {1.0f, 0x1p80f, 2.0f, -0x1p80f, 4.0f, 0x1p-40f, 8.0f};
  ASSERT_EQ(values.size(), kSlices);
  const Sums alone = sums_with(1, values, GetParam());
  const auto slice = static_cast<double>(kLargestSlice * GetParam());
  const double expected = slice * (12.0 + 0x1p-40);
  EXPECT_EQ(alone.moments.item<double>(), expected);
  EXPECT_EQ(alone.dweights.item<float>(), static_cast<float>(expected));
  EXPECT_EQ(alone.dbias.item<float>(), static_cast<float>(slice * kSlices));
  for (int threads = 2; threads <= 9; ++threads) {
    for (int repetition = 0; repetition < 20; ++repetition) {
      const Sums together = sums_with(threads, values, GetParam());
      EXPECT_TRUE(at::equal(together.moments, alone.moments)) << threads << " threads";
      EXPECT_TRUE(at::equal(together.dweights, alone.dweights)) << threads << " threads";
      EXPECT_TRUE(at::equal(together.dbias, alone.dbias)) << threads << " threads";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Heights, ThreadOrder, testing::Values(1, 3));

// Whoever waits for the slice that failed goes on.
TEST(ThreadOrderErrors, AFailingSliceEndsTheLoop) {
  ConvolutionGeometry geometry;
  ConvolutionMachine machine(geometry, false);
  for (const int threads : {1, 2, 4}) {
    machine.prepare(threads, kSlices * kLargestSlice, false, [](Convolution&) {});
    int added = 0;
    const auto compute = [](ConvolutionMachine::Workspace&, int64_t first, int64_t) {
      if (first == 3 * kLargestSlice) throw std::runtime_error("slice 3");
    };
    const auto add = [&](ConvolutionMachine::Workspace&, int64_t) { ++added; };
    EXPECT_THROW(machine.for_each_slice(threads, kSlices * kLargestSlice, compute, add), std::runtime_error);
    EXPECT_GE(added, 3);
    EXPECT_LT(added, kSlices);
  }
}

}  // namespace
}  // namespace nibble::train
