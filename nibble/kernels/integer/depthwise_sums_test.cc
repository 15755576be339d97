// Every target's depthwise sums against their scalar definition, bit for bit.
#include "nibble/kernels/integer/depthwise_sums.h"

#include <fmt/format.h>

#include "hwy/tests/hwy_gtest.h"
#include "nibble/kernels/integer/kernel_problems.h"

namespace nibble::kernels {
namespace {

class DepthwiseKernels : public hwy::TestWithParamTarget {};
HWY_TARGET_INSTANTIATE_TEST_SUITE_P(DepthwiseKernels);

struct DepthwiseProblem {
  AlignedVector<uint8_t> input;
  AlignedVector<int32_t> weights, bias, quads;
  std::vector<int32_t> taps, starts, places;
  DepthwiseSums sums;

  DepthwiseProblem(CodeType type, int32_t largest, int32_t count_of_taps, int64_t channels, int64_t pixels)
      : input(random_codes(type, (pixels + count_of_taps) * channels * 2, 5)),
        bias(static_cast<size_t>((channels + 15) / 16 * 16), -5) {
    const auto some = random_integers(count_of_taps * std::ssize(bias), -largest - 1, largest, 6);
    weights.assign(some.begin(), some.end());
    for (int32_t t = 0; t < count_of_taps; ++t) taps.push_back(t * static_cast<int32_t>(channels));
    for (int32_t p = 0; p < pixels; ++p) {
      starts.push_back(p * static_cast<int32_t>(channels)), places.push_back(p * static_cast<int32_t>(channels + 3));
    }
    sums.tap_offsets = taps, sums.weights = weights.data(), sums.bias = bias.data();
    sums.channels = channels, sums.input = type;
    sums.pixel_offsets = starts, sums.result_offsets = places;
    sums.sample_stride = (pixels + count_of_taps) * channels, sums.result_stride = pixels * (channels + 3);
    quads = pack_tap_quads(weights, std::ssize(bias));
    EXPECT_EQ(quads.empty(), largest > 127 || count_of_taps < 4);
    if (type == CodeType::kUint8 && !quads.empty()) sums.quads = quads.data();
  }
};

void expect_scalar_results(const DepthwiseProblem& problem, const std::string& what) {
  std::vector<uint8_t> found(static_cast<size_t>(problem.sums.result_stride) * 8, 9), expected(found);
  depthwise_sums(problem.sums, problem.input.data(), 2, found.data());
  scalar::depthwise_sums(problem.sums, problem.input.data(), 2, expected.data());
  EXPECT_EQ(found, expected) << what;
}

TEST_P(DepthwiseKernels, SumsAreTheScalarOnes) {
  struct Row {
    CodeType type;
    int32_t largest, taps;
  };
  const Row rows[] = {{CodeType::kUint8, 127, 9},   {CodeType::kUint8, 127, 8},   {CodeType::kUint8, 127, 3},
                      {CodeType::kUint8, 32767, 9}, {CodeType::kInt16, 32767, 9}, {CodeType::kInt32, 1 << 20, 9}};
  for (const Row& row : rows) {
    for (const int64_t channels : {1, 7, 8, 16, 17, 40, 64}) {
      for (const int64_t pixels : {1, 5, 6, 7, 20}) {
        DepthwiseProblem problem(row.type, row.largest, row.taps, channels, pixels);
        const Requantizer requantizer(RequantizationKind::kLinear, channels, row.largest == 127 ? 3e4f : 1e6f);
        problem.sums.requantization = requantizer.r;
        for (const bool plain : {true, false}) {
          problem.sums.requantization.kind = plain ? RequantizationKind::kNone : RequantizationKind::kLinear;
          problem.sums.format = plain ? CodeFormat{CodeType::kInt32} : CodeFormat{CodeType::kUint8, 40};
          expect_scalar_results(problem, fmt::format("{} channels, {} pixels, type {}, {} taps to {}", channels, pixels,
                                                     static_cast<int>(row.type), row.taps, row.largest));
        }
      }
    }
  }
}

}  // namespace
}  // namespace nibble::kernels
