#include "nibble/core/philox.h"

#include <gtest/gtest.h>

#include <set>

namespace nibble {
namespace {

using Words = std::array<uint32_t, 4>;

// The known answers that come with Random123 (kat_vectors, philox4x32 with 10 rounds).
struct KnownAnswer {
  Words counter;
  std::array<uint32_t, 2> key;
  Words expected;
};
class Philox : public ::testing::TestWithParam<KnownAnswer> {};
TEST_P(Philox, GivesRandom123sKnownAnswers) {
  EXPECT_EQ(philox4x32_10(GetParam().counter, GetParam().key), GetParam().expected);
}
INSTANTIATE_TEST_SUITE_P(
    KnownAnswers, Philox,
    ::testing::Values(KnownAnswer{{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
                      KnownAnswer{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
                                  {0xffffffff, 0xffffffff},
                                  {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
                      KnownAnswer{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                                  {0xa4093822, 0x299f31d0},
                                  {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}));

TEST(RandomBlock, DependsOnEveryPartOfTheKey) {
  const RandomKey base{.seed = 1, .purpose = RandomPurpose::kTest, .layer = 2, .step = 3};
  RandomKey high_seed = base, purpose = base, layer = base, step = base;
  high_seed.seed |= uint64_t{1} << 40;
  purpose.purpose = RandomPurpose::kDropout;
  layer.layer = 4;
  step.step = 5;
  std::set<Words> seen{random_block(base, 0), random_block(base, 1)};
  for (const RandomKey& key : {high_seed, purpose, layer, step}) seen.insert(random_block(key, 0));
  EXPECT_EQ(seen.size(), 6u);
}

TEST(RandomStream, ReadsTheWordsOfTheBlocksInOrder) {
  const RandomKey key{.seed = 7};
  RandomStream stream(key);
  for (uint32_t i = 0; i < 10; ++i) EXPECT_EQ(stream.bits(), random_block(key, i / 4)[i % 4]) << i;
}

TEST(RandomStream, UniformNumbersFillTheUnitInterval) {
  RandomStream stream({.seed = 1});
  double sum = 0.0, lowest = 1.0, highest = 0.0;
  constexpr int kDraws = 100000;
  for (int i = 0; i < kDraws; ++i) {
    const double u = i % 2 == 0 ? stream.uniform() : stream.uniform_double();
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
    lowest = std::min(lowest, u);
    highest = std::max(highest, u);
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 0.005);  // five standard errors
  EXPECT_LT(lowest, 1e-3);
  EXPECT_GT(highest, 1.0 - 1e-3);
}

TEST(RandomStream, BelowIsUniformAndInRange) {
  RandomStream stream({.seed = 3});
  std::array<int, 6> count{};
  for (int i = 0; i < 60000; ++i) ++count.at(stream.below(6));
  for (int c : count) EXPECT_NEAR(c, 10000, 460);  // five standard deviations
  EXPECT_EQ(stream.below(1), 0u);
}

TEST(RandomStream, NormalNumbersHaveMeanZeroAndVarianceOne) {
  RandomStream stream({.seed = 4});
  double sum = 0.0, squares = 0.0;
  constexpr int kDraws = 100000;
  for (int i = 0; i < kDraws; ++i) {
    const double v = stream.normal();
    sum += v;
    squares += v * v;
  }
  EXPECT_NEAR(sum / kDraws, 0.0, 0.016);
  EXPECT_NEAR(squares / kDraws, 1.0, 0.023);
}

TEST(DeriveSeed, DiffersByIndexAndPurpose) {
  std::set<uint64_t> seeds;
  for (uint32_t i = 0; i < 100; ++i) seeds.insert(derive_seed(42, RandomPurpose::kTrial, i));
  seeds.insert(derive_seed(42, RandomPurpose::kTest, 0));
  seeds.insert(derive_seed(43, RandomPurpose::kTrial, 0));
  EXPECT_EQ(seeds.size(), 102u);
}

}  // namespace
}  // namespace nibble
