#include "nibble/kernels/philox_vector.h"

#include <bit>
#include <vector>

#include "hwy/tests/hwy_gtest.h"

namespace nibble::kernels {
namespace {

class PhiloxVector : public hwy::TestWithParamTarget {};
HWY_TARGET_INSTANTIATE_TEST_SUITE_P(PhiloxVector);

const RandomKey kKeys[] = {
    {},
    {.seed = 0x0123456789ABCDEF, .purpose = RandomPurpose::kDropout, .layer = (1u << 24) - 1, .step = 0xFFFFFFFF},
    {.seed = ~uint64_t{0}, .purpose = RandomPurpose::kQuantizer, .layer = 3, .step = 12345},
};

TEST_P(PhiloxVector, WordsAreThoseOfRandomBlock) {
  for (const RandomKey& key : kKeys) {
    for (size_t count : {0, 1, 3, 4, 7, 8, 15, 16, 31, 32, 33, 100, 1027}) {
      // The last start lets the 32-bit block index wrap, as random_block's does.
      for (uint64_t first : {uint64_t{0}, uint64_t{4}, uint64_t{1} << 20, (uint64_t{1} << 34) - 16}) {
        constexpr uint32_t kUntouched = 0xDEADBEEF;
        std::vector<uint32_t> words(count + 1, kUntouched), expected(count + 1, kUntouched);
        random_words(key, first, count, words.data());
        scalar::random_words(key, first, count, expected.data());
        ASSERT_EQ(words, expected) << "count " << count << ", first word " << first;
      }
    }
  }
}

TEST_P(PhiloxVector, KeepBitsAreThoseOfTheDefinition) {
  for (const RandomKey& key : kKeys) {
    for (size_t elements : {1, 127, 128, 129, 4096, 5000}) {
      for (uint64_t first : {uint64_t{0}, uint64_t{128}, uint64_t{128} * 999}) {
        for (uint32_t threshold : {0u, 1u, 32767u, 32768u, 32769u, 65535u, 65536u}) {
          const size_t bytes = (elements + 127) / 128 * 16;
          std::vector<uint8_t> bits(bytes + 1, 0x5A), expected(bytes + 1, 0x5A);
          dropout_keep_bits(key, first, elements, threshold, bits.data());
          scalar::dropout_keep_bits(key, first, elements, threshold, expected.data());
          ASSERT_EQ(bits, expected) << elements << " elements from " << first << ", threshold " << threshold;
        }
      }
    }
  }
}

TEST_P(PhiloxVector, AShareOfRateIsDropped) {
  for (float rate : {0.1f, 0.25f, 0.5f, 0.9f}) {
    constexpr size_t kElements = 1 << 18;
    std::vector<uint8_t> bits(kElements / 8);
    dropout_keep_bits(kKeys[1], 0, kElements, dropout_threshold(rate), bits.data());
    int kept = 0;
    for (uint8_t byte : bits) kept += std::popcount(byte);
    // 5 standard deviations of the binomial at rate 0.5
    EXPECT_NEAR(static_cast<double>(kept) / kElements, 1.0 - rate, 5 * 0.5 / 512);
  }
}

TEST(DropoutThreshold, IsRateIn65536ths) {
  EXPECT_EQ(dropout_threshold(0.0f), 0u);
  EXPECT_EQ(dropout_threshold(0.5f), 32768u);
  EXPECT_EQ(dropout_threshold(0.99999994f), 65536u);  // the float below 1: everything is dropped
}

}  // namespace
}  // namespace nibble::kernels
