#include "nibble/kernels/affine_activation.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "hwy/tests/hwy_gtest.h"
#include "nibble/core/philox.h"

namespace nibble::kernels {
namespace {

class AffineActivation : public hwy::TestWithParamTarget {};
HWY_TARGET_INSTANTIATE_TEST_SUITE_P(AffineActivation);

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

struct NamedActivation {
  const char* name;
  ActivationSpec spec;
};

const NamedActivation kActivations[] = {
    {"linear", {.kind = ActivationKind::kLinear}},
    {"relu", {.kind = ActivationKind::kRelu}},
    {"quantized_relu(4,1)", {.kind = ActivationKind::kQuantizedRelu, .scale = 0.125f, .code_max = 15, .upper = 1.875f}},
    {"quantized_relu without a top",
     {.kind = ActivationKind::kQuantizedRelu, .scale = 0.25f, .code_max = 7, .upper = kInfinity}},
    {"quantized_relu_po2(3)",
     {.kind = ActivationKind::kQuantizedReluPo2, .upper = kInfinity, .exponent_min = -4, .exponent_max = 3}},
    {"quantized_relu_po2(8,4)",
     {.kind = ActivationKind::kQuantizedReluPo2, .upper = 4, .exponent_min = -128, .exponent_max = 2}},
    {"quantized_bits(4,1)",
     {.kind = ActivationKind::kQuantizedBits, .scale = 0.25f, .code_min = -8, .code_max = 7, .alpha = 0.3f}},
    {"quantized_linear(4,1)",
     {.kind = ActivationKind::kQuantizedBits,
      .scale = 0.25f,
      .code_min = -7,
      .code_max = 7,
      .lower_bound = -1.75f,
      .upper_bound = 1.75f}},
    {"binary", {.kind = ActivationKind::kBinary}},
    {"ternary", {.kind = ActivationKind::kTernary, .threshold = 0.33f}},
    {"ternary(threshold=0)", {.kind = ActivationKind::kTernary, .threshold = 0.0f}},
};

struct Case {
  int64_t rows, channels;
  size_t elements() const { return static_cast<size_t>(rows * channels); }
};

// Around every multiple of the lanes, and odd channels.
const Case kCases[] = {{0, 4},   {1, 1},   {3, 1},   {4, 1},   {5, 1},  {7, 1},    {8, 1},   {9, 1},   {15, 1}, {16, 1},
                       {17, 1},  {129, 1}, {5, 3},   {43, 3},  {1, 7},  {100, 10}, {9, 16},  {7, 24},  {5, 48}, {3, 96},
                       {33, 32}, {5, 128}, {3, 192}, {2, 256}, {2, 67}, {1, 257},  {37, 31}, {700, 24}};
// More periods than float sums are kept for.
const Case kLongCases[] = {{70000, 1}, {9000, 16}, {1100, 67}};

std::vector<Case> all_cases() {
  std::vector<Case> cases(std::begin(kCases), std::end(kCases));
  cases.insert(cases.end(), std::begin(kLongCases), std::end(kLongCases));
  return cases;
}
struct Data {
  Data(const Case& c, bool specials) {
    RandomStream random({.seed = 11, .layer = static_cast<uint32_t>(c.channels)});
    for (size_t e = 0; e < c.elements(); ++e) {
      x.push_back(random.normal() * 1.5f);
      upstream.push_back(random.normal());
    }
    for (int64_t i = 0; i < c.channels; ++i) {
      multiplier.push_back(0.5f + random.uniform());
      offset.push_back(random.normal() * 0.3f);
      scale_h.push_back(random.normal());
      scale_x.push_back(random.normal());
      constant.push_back(random.normal());
    }
    // Ties: with multiplier 1 and offset 0, odd multiples of half a step.
    multiplier[0] = 1.0f;
    offset[0] = 0.0f;
    for (size_t e = 0; e < x.size(); e += static_cast<size_t>(c.channels) * 3) {
      x[e] = static_cast<float>(static_cast<int>(random.below(64)) - 32) * 0.0625f;
    }
    const float special[] = {kNaN, kInfinity, -kInfinity, 0.0f, -0.0f, 1e-7f, 3e38f, -3e38f, 1e-40f, 1e10f, -1e10f};
    for (size_t i = 0; specials && i < std::size(special); ++i) {
      if (!x.empty()) x[(i * 37) % x.size()] = special[i];
    }
  }
  std::vector<float> x, upstream, multiplier, offset, scale_h, scale_x, constant;
};

// -0 equals 0: rounding gives either on different targets. A NaN equals a NaN: an operation may give any.
bool same(float a, float b) { return a == b || (a != a && b != b); }

// quantized_relu_po2's definition takes rounded logarithms: within this relative distance of 2^(k + 1/2) it may fall
// to either side. Half a unit in the last place of log2 z near 127 is 2^-18.
bool is_po2_tie(const ActivationSpec& spec, float z) {
  if (spec.kind != ActivationKind::kQuantizedReluPo2 || !(z > 0)) return false;
  const double exponent = std::log2(double{z});
  return std::abs(exponent - std::floor(exponent) - 0.5) < 1e-5;
}

bool bit(const std::vector<uint8_t>& bits, size_t e) { return (bits[e / 8] >> (e % 8)) & 1; }

TEST_P(AffineActivation, ForwardIsTheScalarOne) {
  for (const auto& [name, spec] : kActivations) {
    for (const Case& c : kCases) {
      for (float rate : {0.0f, 0.3f}) {
        const Data data(c, true);
        const Dropout dropout{.rate = rate, .key = {.seed = 3, .purpose = RandomPurpose::kDropout}};
        std::vector<float> y(c.elements() + 1, 99.0f), expected(y), no_mask(y), in_place(data.x);
        std::vector<uint8_t> mask(mask_bytes(c.elements()) + 1, 0x77), expected_mask(mask);
        in_place.push_back(99.0f);
        const auto forward = [&, &spec = spec](const float* x, float* to, uint8_t* bits) {
          affine_activation_forward(x, to, bits, c.rows, c.channels, data.multiplier.data(), data.offset.data(), spec,
                                    dropout);
        };
        forward(data.x.data(), y.data(), mask.data());
        forward(data.x.data(), no_mask.data(), nullptr);
        forward(in_place.data(), in_place.data(), nullptr);
        scalar::affine_activation_forward(data.x.data(), expected.data(), expected_mask.data(), c.rows, c.channels,
                                          data.multiplier.data(), data.offset.data(), spec, dropout);
        EXPECT_EQ(mask.back(), 0x77) << "written behind the mask";
        for (size_t e = 0; e <= c.elements(); ++e) {
          const size_t channel = e % static_cast<size_t>(c.channels);
          if (e < c.elements()) {
            ASSERT_EQ(bit(mask, e), bit(expected_mask, e)) << name << ", element " << e << " of " << c.elements();
            if (is_po2_tie(spec, data.x[e] * data.multiplier[channel] + data.offset[channel])) continue;
          }
          ASSERT_PRED2(same, y[e], expected[e])
              << name << ", rate " << rate << ", " << c.rows << " x " << c.channels << ", element " << e;
          ASSERT_PRED2(same, no_mask[e], expected[e]) << name << " without a mask";
          ASSERT_PRED2(same, in_place[e], expected[e]) << name << " in place";
        }
      }
    }
  }
}

TEST_P(AffineActivation, SlicesDrawTheNumbersOfTheWhole) {
  constexpr int64_t kRows = 96, kChannels = 20;  // a slice of 32 rows has 640 elements: 5 * 128
  const Data data({kRows, kChannels}, false);
  const ActivationSpec spec{.kind = ActivationKind::kRelu};
  Dropout dropout{.rate = 0.5f, .key = {.seed = 3}};
  std::vector<float> whole(kRows * kChannels), sliced(whole.size());
  affine_activation_forward(data.x.data(), whole.data(), nullptr, kRows, kChannels, data.multiplier.data(),
                            data.offset.data(), spec, dropout);
  for (int64_t row = 0; row < kRows; row += 32) {
    dropout.first_element = static_cast<uint64_t>(row * kChannels);
    affine_activation_forward(data.x.data() + row * kChannels, sliced.data() + row * kChannels, nullptr, 32, kChannels,
                              data.multiplier.data(), data.offset.data(), spec, dropout);
  }
  EXPECT_EQ(whole, sliced);
}

TEST_P(AffineActivation, GradientIsTheScalarOne) {
  for (const auto& [name, spec] : kActivations) {
    for (const Case& c : kCases) {
      for (float rate : {0.0f, 0.3f}) {
        const Data data(c, false);
        std::vector<float> y(c.elements()), dx(c.elements() + 1, 99.0f), expected(dx), in_place(data.upstream);
        in_place.push_back(99.0f);
        std::vector<uint8_t> mask(mask_bytes(c.elements()));
        affine_activation_forward(data.x.data(), y.data(), mask.data(), c.rows, c.channels, data.multiplier.data(),
                                  data.offset.data(), spec, {.rate = rate, .key = {.seed = 3}});
        const auto gradient = [&, &spec = spec](auto function, const float* upstream, float* to) {
          function(upstream, data.x.data(), mask.data(), to, c.rows, c.channels, data.multiplier.data(),
                   data.offset.data(), spec, rate, data.scale_h.data(), data.scale_x.data(), data.constant.data());
        };
        gradient(affine_activation_gradient, data.upstream.data(), dx.data());
        gradient(affine_activation_gradient, in_place.data(), in_place.data());
        gradient(scalar::affine_activation_gradient, data.upstream.data(), expected.data());
        // The gradient of tanh is another formula, within 5e-7; upstream and scale_h are below 5.
        const float tolerance = has_binary_gradient(spec.kind) ? 0.0f : 2e-5f;
        for (size_t e = 0; e <= c.elements(); ++e) {
          ASSERT_NEAR(dx[e], expected[e], tolerance) << name << ", " << c.rows << " x " << c.channels << ", " << e;
          ASSERT_PRED2(same, dx[e], in_place[e]) << name;
        }
      }
    }
  }
}

TEST_P(AffineActivation, SumsAreTheScalarOnes) {
  for (const auto& [name, spec] : kActivations) {
    for (const Case& c : all_cases()) {
      const Data data(c, false);
      const float rate = 0.3f;
      std::vector<float> y(c.elements());
      std::vector<uint8_t> mask(mask_bytes(c.elements()));
      affine_activation_forward(data.x.data(), y.data(), mask.data(), c.rows, c.channels, data.multiplier.data(),
                                data.offset.data(), spec, {.rate = rate, .key = {.seed = 3}});
      const auto channels = static_cast<size_t>(c.channels);
      std::vector<double> h(channels, 0.5), hx(channels, -0.5), expected_h(h), expected_hx(hx);
      const auto sums = [&, &spec = spec](auto function, std::vector<double>& to_h, std::vector<double>& to_hx) {
        function(data.upstream.data(), data.x.data(), mask.data(), c.rows, c.channels, data.multiplier.data(),
                 data.offset.data(), spec, rate, to_h.data(), to_hx.data());
      };
      sums(affine_activation_gradient_sums, h, hx);
      sums(scalar::affine_activation_gradient_sums, expected_h, expected_hx);
      // 256 float additions err by at most 256 * 2^-24 of the sum of magnitudes, which is below 10 a row.
      const double tolerance = 1e-6 + 1.6e-5 * static_cast<double>(c.rows);
      for (size_t i = 0; i < channels; ++i) {
        ASSERT_NEAR(h[i], expected_h[i], tolerance) << name << ", " << c.rows << " x " << c.channels << ", " << i;
        ASSERT_NEAR(hx[i], expected_hx[i], tolerance) << name << ", " << c.rows << " x " << c.channels << ", " << i;
      }
    }
  }
}

TEST_P(AffineActivation, MomentsAreTheScalarOnes) {
  for (const Case& c : all_cases()) {
    const Data data(c, false);
    const auto channels = static_cast<size_t>(c.channels);
    std::vector<double> sum(channels, 1.0), square(channels, 2.0), expected_sum(sum), expected_square(square);
    channel_moments(data.x.data(), c.rows, c.channels, sum.data(), square.data());
    scalar::channel_moments(data.x.data(), c.rows, c.channels, expected_sum.data(), expected_square.data());
    const double tolerance = 1e-6 + 3e-6 * static_cast<double>(c.rows);
    for (size_t i = 0; i < channels; ++i) {
      ASSERT_NEAR(sum[i], expected_sum[i], tolerance) << c.rows << " x " << c.channels;
      ASSERT_NEAR(square[i], expected_square[i], tolerance) << c.rows << " x " << c.channels;
    }
  }
}

// Where nothing passes, an infinite or undefined upstream must not get through.
TEST_P(AffineActivation, DroppedElementsStopSpecialUpstreams) {
  const std::vector<float> upstream(40, kNaN), x(40, 1.0f), one(1, 1.0f), zero(1, 0.0f);
  const std::vector<uint8_t> mask(mask_bytes(40), 0);
  for (const auto& [name, spec] : kActivations) {
    std::vector<float> dx(40);
    affine_activation_gradient(upstream.data(), x.data(), mask.data(), dx.data(), 40, 1, one.data(), zero.data(), spec,
                               0.0f, one.data(), zero.data(), zero.data());
    EXPECT_EQ(dx, std::vector<float>(40, 0.0f)) << name;
    double h = 0, hx = 0;
    affine_activation_gradient_sums(upstream.data(), x.data(), mask.data(), 40, 1, one.data(), zero.data(), spec, 0.0f,
                                    &h, &hx);
    EXPECT_EQ(h, 0.0) << name;
    EXPECT_EQ(hx, 0.0) << name;
  }
}

// Between neighbouring floats around every boundary of a power of two the kernel may leave the definition only in the
// documented few.
TEST_P(AffineActivation, Po2RoundsExponentsAsTheDefinition) {
  const ActivationSpec spec{
      .kind = ActivationKind::kQuantizedReluPo2, .upper = kInfinity, .exponent_min = -16, .exponent_max = 15};
  std::vector<float> z;
  for (int exponent = -18; exponent < 18; ++exponent) {
    const float boundary = std::ldexp(1.41421356f, exponent);
    const auto centre = std::bit_cast<uint32_t>(boundary);
    for (uint32_t bits = centre - 300; bits < centre + 300; ++bits) z.push_back(std::bit_cast<float>(bits));
  }
  const std::vector<float> one(1, 1.0f), zero(1, 0.0f);
  std::vector<float> y(z.size());
  affine_activation_forward(z.data(), y.data(), nullptr, static_cast<int64_t>(z.size()), 1, one.data(), zero.data(),
                            spec, {});
  int differing = 0;
  for (size_t i = 0; i < z.size(); ++i) {
    if (y[i] == scalar::activation_value(spec, z[i])) continue;
    ++differing;
    EXPECT_TRUE(is_po2_tie(spec, z[i])) << z[i];
  }
  EXPECT_LT(differing, 200);  // of 21600
}

}  // namespace
}  // namespace nibble::kernels
