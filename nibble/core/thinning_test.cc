#include "nibble/core/thinning.h"

#include <gtest/gtest.h>

#include <vector>

namespace nibble {
namespace {

// Whatever the number of channels: each is seen as often as the others.
TEST(Thinning, FavoursNoChannel) {
  constexpr uint64_t kCount = 1 << 20;
  for (const uint64_t part : {2u, 8u, 16u, 64u}) {
    for (const uint64_t channels : {1u, 2u, 3u, 8u, 10u, 16u, 40u, 64u, 96u}) {
      std::vector<double> seen(channels);
      for (uint64_t i = 0; i < kCount; ++i) seen[i % channels] += is_sampled(i, part) ? 1 : 0;
      const double expected = static_cast<double>(kCount) / static_cast<double>(part * channels);
      for (uint64_t c = 0; c < channels; ++c) {
        EXPECT_NEAR(seen[c] / expected, 1.0, 0.35) << "channel " << c << " of " << channels << ", 1 in " << part;
      }
    }
  }
}

TEST(Thinning, TwiceThePartIsAmongThePart) {
  EXPECT_TRUE(is_sampled(0, uint64_t{1} << 30));
  for (uint64_t i = 0; i < 10000; ++i) {
    EXPECT_TRUE(is_sampled(i, 1));
    if (is_sampled(i, 16)) {
      EXPECT_TRUE(is_sampled(i, 8)) << i;
    }
  }
}

TEST(Thinning, OfRunsFavoursNoChannelEither) {
  constexpr uint64_t kCount = 1 << 20;
  for (const uint64_t part : {1u, 2u, 8u, 16u, 64u}) {
    for (const uint64_t channels : {1u, 2u, 3u, 8u, 10u, 16u, 40u, 64u, 96u}) {
      std::vector<double> seen(channels);
      for (uint64_t run = 0; run < kCount / part; ++run) {
        const uint64_t position = sampled_of_run(run, part);
        ASSERT_GE(position, run * part);
        ASSERT_LT(position, (run + 1) * part);
        seen[position % channels] += 1;
      }
      const double expected = static_cast<double>(kCount) / static_cast<double>(part * channels);
      for (uint64_t c = 0; c < channels; ++c) {
        EXPECT_NEAR(seen[c] / expected, 1.0, 0.35) << "channel " << c << " of " << channels << ", 1 in " << part;
      }
    }
  }
}

}  // namespace
}  // namespace nibble
