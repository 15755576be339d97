// Every target's integer kernels against their scalar definitions, bit for bit.
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "hwy/tests/hwy_gtest.h"
#include "nibble/kernels/integer/float_codes.h"
#include "nibble/kernels/integer/integer_sums.h"
#include "nibble/kernels/integer/kernel_problems.h"
#include "nibble/kernels/integer/pools.h"
#include "nibble/kernels/integer/scaled_sums.h"
#include "nibble/kernels/integer/sign_bits.h"

namespace nibble::kernels {
namespace {

class IntegerKernels : public hwy::TestWithParamTarget {};
HWY_TARGET_INSTANTIATE_TEST_SUITE_P(IntegerKernels);

constexpr CodeFormat kFormats[] = {
    {CodeType::kUint8, 0}, {CodeType::kUint8, 77}, {CodeType::kInt16}, {CodeType::kInt32}};

constexpr RequantizationKind kKinds[] = {RequantizationKind::kLinear, RequantizationKind::kCorrected,
                                         RequantizationKind::kSelect, RequantizationKind::kSearch};

struct SumsCase {
  int64_t rows, row_terms, channels, pixels, samples;
};
const SumsCase kSums[] = {{1, 1, 1, 1, 1},   {3, 9, 16, 21, 1},   {3, 3, 17, 14, 2}, {1, 64, 32, 13, 1},
                          {2, 5, 40, 12, 2}, {3, 30, 48, 8, 3},   {1, 16, 64, 7, 1}, {3, 96, 64, 1, 9},
                          {1, 33, 80, 5, 1}, {1, 100, 130, 2, 1}, {5, 7, 15, 30, 1}, {1, 4, 100, 6, 4},
                          {2, 8, 31, 3, 1},  {1, 2, 63, 100, 1}};

struct SumsProblem {
  AlignedVector<uint8_t> input;
  std::vector<int32_t> weights, offsets, pixels, places, bias_offsets;
  AlignedVector<int32_t> packed, bias;
  IntegerSums sums;

  SumsProblem(Terms terms, const SumsCase& row) {
    const int64_t per_step = terms_in_a_step(terms), row_steps = (row.row_terms + per_step - 1) / per_step;
    const int64_t row_bytes = row_steps * step_bytes(terms) + 20, sample = row.pixels * 12 + row.rows * row_bytes;
    input = random_codes(CodeType::kUint8, sample * row.samples, 1);
    weights = random_integers(row.rows * row.row_terms * row.channels, lowest(terms), highest(terms), 2);
    if (terms == Terms::kBits) {
      for (int32_t& weight : weights) weight = weight < 0 ? -1 : 1;
    }
    packed = pack_weights(terms, weights, row.rows, row.row_terms, row.channels);
    const auto some = random_integers((row.channels + 15) / 16 * 32, -1000, 1000, 3);
    bias.assign(some.begin(), some.end());
    for (int64_t y = 0; y < row.rows; ++y) {
      for (int64_t k = 0; k < row_steps; ++k)
        offsets.push_back(static_cast<int32_t>(y * row_bytes + k * step_bytes(terms)));
    }
    for (int64_t p = 0; p < row.pixels; ++p) {
      pixels.push_back(static_cast<int32_t>(p * 12));
      places.push_back(static_cast<int32_t>(p * (row.channels + 2)));
      bias_offsets.push_back(p % 3 == 1 ? static_cast<int32_t>((row.channels + 15) / 16 * 16) : 0);
    }
    sums.terms = terms, sums.steps = row.rows * row_steps, sums.step_offsets = offsets.data();
    sums.weights = packed.data(), sums.bias = bias.data(), sums.channels = row.channels;
    sums.pixel_offsets = pixels, sums.result_offsets = places;
    sums.sample_stride = sample, sums.result_stride = row.pixels * (row.channels + 2);
  }

  static bool are_bytes(Terms terms) { return terms == Terms::kBytes || terms == Terms::kBytePairs; }
  static int64_t step_bytes(Terms terms) { return terms == Terms::kBytePairs ? 8 : 4; }
  static int32_t highest(Terms terms) {
    return are_bytes(terms) ? 127 : (terms == Terms::kWords || terms == Terms::kInts ? 32767 : 1);
  }
  static int32_t lowest(Terms terms) { return highest(terms) == 1 ? -1 : -highest(terms) - 1; }
};

std::string text(Terms terms, const SumsCase& row) {
  return "terms " + std::to_string(static_cast<int>(terms)) + ", rows " + std::to_string(row.rows) + " of " +
         std::to_string(row.row_terms) + ", channels " + std::to_string(row.channels) + ", pixels " +
         std::to_string(row.pixels);
}

void expect_scalar_results(const SumsProblem& problem, const SumsCase& row, const std::string& what) {
  const auto bytes = static_cast<size_t>(row.samples * problem.sums.result_stride) * size_of(problem.sums.format.type);
  std::vector<uint8_t> found(bytes, 99), expected(bytes, 99);
  integer_sums(problem.sums, problem.input.data(), row.samples, found.data());
  scalar::integer_sums(problem.sums, problem.input.data(), row.samples, expected.data());
  EXPECT_EQ(found, expected) << what;
}

TEST_P(IntegerKernels, SumsAreTheScalarOnes) {
  for (const Terms terms :
       {Terms::kBytes, Terms::kBytePairs, Terms::kWords, Terms::kInts, Terms::kBits, Terms::kTernaryBits}) {
    for (const SumsCase& row : kSums) {
      SumsProblem problem(terms, row);
      expect_scalar_results(problem, row, text(terms, row));
      if (terms_in_a_step(terms) < 32) continue;
      problem.sums.bias_offsets = problem.bias_offsets;
      expect_scalar_results(problem, row, text(terms, row) + ", biases by pixel");
    }
  }
}

TEST_P(IntegerKernels, RequantizedSumsAreTheScalarOnes) {
  for (const RequantizationKind kind : kKinds) {
    for (const SumsCase& row : kSums) {
      const Requantizer requantizer(kind, row.channels, 30000.0f);
      for (const Terms terms : {Terms::kBytes, Terms::kBytePairs}) {
        SumsProblem problem(terms, row);
        problem.sums.requantization = requantizer.r;
        for (const CodeFormat format :
             {CodeFormat{CodeType::kUint8, 77}, CodeFormat{CodeType::kInt16}, CodeFormat{CodeType::kInt32}}) {
          problem.sums.format = format;
          expect_scalar_results(problem, row, text(terms, row) + ", kind " + std::to_string(static_cast<int>(kind)));
        }
      }
    }
  }
}

// (-128) * 255 in all places: what pmaddubsw would clip.
TEST_P(IntegerKernels, ExtremeProductsDoNotSaturate) {
  const SumsCase row{1, 64, 16, 3, 1};
  for (const Terms terms : {Terms::kBytes, Terms::kBytePairs}) {
    SumsProblem problem(terms, row);
    std::fill(problem.input.begin(), problem.input.end(), uint8_t{255});
    problem.packed = pack_weights(terms, std::vector<int32_t>(64 * 16, -128), 1, 64, 16);
    problem.sums.weights = problem.packed.data();
    std::vector<int32_t> found(static_cast<size_t>(problem.sums.result_stride), 0);
    integer_sums(problem.sums, problem.input.data(), 1, found.data());
    for (size_t c = 0; c < 16; ++c) EXPECT_EQ(found[c], problem.bias[c] - 64 * 255 * 128) << text(terms, row) << c;
  }
}

int32_t plain_sum(const SumsProblem& problem, const SumsCase& row, int64_t sample, int64_t pixel, int64_t channel) {
  int32_t sum = problem.bias[static_cast<size_t>(channel)];
  for (int64_t y = 0; y < row.rows; ++y) {
    const int64_t begin =
        problem.offsets[problem.offsets.size() / static_cast<size_t>(row.rows) * static_cast<size_t>(y)];
    for (int64_t t = 0; t < row.row_terms; ++t) {
      const auto x = static_cast<size_t>(sample * problem.sums.sample_stride + pixel * 12 + begin + t);
      sum += problem.input[x] * problem.weights[static_cast<size_t>((y * row.row_terms + t) * row.channels + channel)];
    }
  }
  return sum;
}

TEST(IntegerSums, ScalarSumsArePlainSumsOfProducts) {
  const SumsCase row{3, 10, 20, 4, 2};
  for (const Terms terms : {Terms::kBytes, Terms::kBytePairs}) {
    const SumsProblem problem(terms, row);
    const auto stride = static_cast<size_t>(problem.sums.result_stride);
    std::vector<int32_t> found(stride * 2, 0);
    scalar::integer_sums(problem.sums, problem.input.data(), 2, found.data());
    for (int64_t s = 0; s < 2; ++s) {
      for (int64_t p = 0; p < 4; ++p) {
        for (int64_t c = 0; c < 20; ++c) {
          EXPECT_EQ(found[static_cast<size_t>(s) * stride + static_cast<size_t>(p * 22 + c)],
                    plain_sum(problem, row, s, p, c))
              << text(terms, row) << ", at " << s << " " << p << " " << c;
        }
      }
    }
  }
}

// A bit of 1 is 1 and one of 0 is -1; the number of weights that are not 0 is the caller's to add.
TEST(IntegerSums, BitsAreSigns) {
  for (const Terms terms : {Terms::kBits, Terms::kTernaryBits}) {
    const SumsCase row{2, 64, 20, 3, 1};
    const SumsProblem problem(terms, row);
    std::vector<int32_t> found(static_cast<size_t>(problem.sums.result_stride), 0);
    scalar::integer_sums(problem.sums, problem.input.data(), 1, found.data());
    for (int64_t p = 0; p < 3; ++p) {
      for (int64_t c = 0; c < 20; ++c) {
        int32_t sum = problem.bias[static_cast<size_t>(c)];
        for (int64_t term = 0; term < 128; ++term) {
          const int32_t weight = problem.weights[static_cast<size_t>(term * 20 + c)];
          const uint8_t byte = problem.input[static_cast<size_t>(p * 12 + term / 64 * 28 + term % 64 / 8)];
          const int32_t x = (byte >> (term % 8) & 1) != 0 ? 1 : -1;
          sum += weight * x - (weight != 0 ? 1 : 0);
        }
        EXPECT_EQ(found[static_cast<size_t>(p * 22 + c)], sum) << p << " " << c;
      }
    }
  }
}

TEST_P(IntegerKernels, SignBitsAreTheScalarOnes) {
  for (const int64_t channels : {1, 31, 32, 33, 64, 100}) {
    const PixelLayout codes{1, 40 * channels, 8 * channels, channels};
    const int64_t count = sign_words(channels);
    const auto x = random_codes(CodeType::kUint8, 90 * channels, 12);
    for (const uint8_t zero_point : {uint8_t{0}, uint8_t{1}, uint8_t{128}, uint8_t{255}}) {
      const SignBits s{3, 4, channels, zero_point, codes, {2, 40 * count, 9 * count, count}};
      std::vector<uint32_t> found(static_cast<size_t>(90 * count + 2), 7), expected(found);
      sign_bits(s, x.data(), 2, found.data());
      scalar::sign_bits(s, x.data(), 2, expected.data());
      EXPECT_EQ(found, expected) << channels << " channels above " << int{zero_point};
    }
  }
}

TEST_P(IntegerKernels, ScaledSumsAreTheScalarOnes) {
  for (const int64_t channels : {1, 5, 16, 33}) {
    for (const CodeFormat format : kFormats) {
      const PixelLayout in{3, 300 * channels, 60 * channels, channels},
          out{1, 400 * channels, 70 * channels, channels + 2};
      const auto a = random_codes(format.type, 700 * channels, 8),
                 b = random_codes(CodeType::kUint8, 700 * channels, 9);
      const ScaledTerm terms[] = {{a.data(), format, in, 1},
                                  {b.data(), {CodeType::kUint8, 128}, in, format.zero_point == 77 ? 5 : -3}};
      const auto factors = random_integers((channels + 15) / 16 * 16, 1, 40, 3);
      for (const RequantizationKind kind : kKinds) {
        const Requantizer requantizer(kind, channels, 3000.0f);
        for (const bool scales : {false, true}) {
          const ScaledSums sums{
              terms, scales ? factors.data() : nullptr, 3, 4, channels, requantizer.r, {CodeType::kUint8, 70}, out};
          std::vector<uint8_t> found(static_cast<size_t>(1000 * channels), 9), expected(found);
          scaled_sums(sums, 2, found.data());
          scalar::scaled_sums(sums, 2, expected.data());
          EXPECT_EQ(found, expected) << channels << " channels, kind " << static_cast<int>(kind);
        }
      }
    }
  }
}

TEST_P(IntegerKernels, TiesGoToEvenCodesWhateverTheZeroPoint) {
  AlignedVector<uint8_t> x(256 + kReadAhead), nothing(256 + kReadAhead, 0);
  for (size_t i = 0; i < 256; ++i) x[i] = static_cast<uint8_t>(i);
  const std::vector<float> half(16, 0.5f), none(16, 0.0f), low(16, -100.0f), high(16, 100.0f);
  for (const int32_t zero_point : {100, 101, 126, 127}) {
    const PixelLayout layout{0, 256, 16, 16};
    const ScaledTerm terms[] = {{x.data(), {CodeType::kUint8, 128}, layout, 1},
                                {nothing.data(), {CodeType::kUint8, 0}, layout, 1}};
    Requantization r;
    r.kind = RequantizationKind::kLinear, r.multiplier = half.data(), r.offset = none.data();
    r.low = low.data(), r.high = high.data(), r.channels = 16;
    const ScaledSums sums{terms, nullptr, 1, 16, 16, r, {CodeType::kUint8, zero_point}, layout};
    std::vector<uint8_t> found(256);
    scaled_sums(sums, 1, found.data());
    for (int32_t i = 0; i < 256; ++i) {
      const auto code = static_cast<int32_t>(std::nearbyint(0.5 * (i - 128)));
      ASSERT_EQ(found[static_cast<size_t>(i)], code + zero_point) << i;
    }
  }
}

TEST_P(IntegerKernels, PoolsAreTheScalarOnes) {
  for (const int64_t channels : {1, 5, 16, 33, 64, 100}) {
    const auto some = random_integers((channels + 15) / 16 * 16, -1, 0, 4);
    for (const CodeFormat format : kFormats) {
      const PixelLayout in{2, 40 * channels, 8 * channels, channels}, out{0, 20 * channels, 4 * channels, channels};
      const auto x = random_codes(format.type, 90 * channels, 10);
      Pool p;
      p.height = 3, p.width = 2, p.stride_height = p.stride_width = 2, p.pad_top = 1, p.in_rows = 5, p.in_columns = 7;
      p.rows = 3, p.columns = 4, p.channels = channels, p.in_format = format, p.in_layout = in, p.layout = out;
      for (const PoolKind kind : {PoolKind::kExtremum, PoolKind::kSum}) {
        for (const bool minima : {false, true}) {
          p.kind = kind, p.takes_minimum = minima ? some.data() : nullptr;
          p.format = kind == PoolKind::kSum ? CodeFormat{CodeType::kInt32} : format;
          if (kind == PoolKind::kSum && (minima || format.type == CodeType::kInt32)) continue;
          // Windows have 2 or 3 rows and 1 or 2 columns inside.
          for (const int32_t common : {0, 12}) {
            p.common = common;
            std::vector<uint8_t> found(static_cast<size_t>(160 * channels), 9), expected(found);
            pool(p, x.data(), 2, found.data());
            scalar::pool(p, x.data(), 2, expected.data());
            EXPECT_EQ(found, expected) << channels << " channels, type " << static_cast<int>(format.type);
          }
        }
      }
    }
  }
}

TEST_P(IntegerKernels, FloatsBecomeTheScalarCodes) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const int64_t count : {0, 1, 15, 16, 17, 100}) {
    std::vector<float> x;
    RandomStream random({1, RandomPurpose::kTest, 0, 0});
    // Ties are common.
    for (int64_t i = 0; i < count; ++i)
      x.push_back(static_cast<float>(static_cast<int>(random.below(700)) - 350) / 256.0f);
    if (count > 2) x[1] = kInfinity, x[2] = -kInfinity;
    for (const CodeFormat format : {CodeFormat{CodeType::kUint8, 128}, CodeFormat{CodeType::kInt32}}) {
      const FloatCodes f{128.0f, 0.0f, -128.0f, 127.0f, format};
      std::vector<uint8_t> found(static_cast<size_t>(count + 2) * 4, 9), expected(found);
      EXPECT_TRUE(float_codes(f, x.data(), count, found.data(), 1));
      EXPECT_TRUE(scalar::float_codes(f, x.data(), count, expected.data(), 1));
      EXPECT_EQ(found, expected) << count;
      for (size_t i = 0; i < x.size(); ++i) {
        const float kept = std::exchange(x[i], std::numeric_limits<float>::quiet_NaN());
        EXPECT_FALSE(float_codes(f, x.data(), count, found.data(), 1));
        x[i] = kept;
      }
    }
  }
}

}  // namespace
}  // namespace nibble::kernels
