#include "nibble/search/constrained_sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "nibble/core/error.h"
#include "nibble/search/random_sampler.h"
#include "nibble/search/tpe_sampler.h"

namespace nibble::search {
namespace {

SearchSpace space_of_sums() {
  SearchSpace space;
  for (int p = 0; p < 8; ++p) space.push_back({fmt::format("p{}", p), {"4", "1", "2", "8"}});
  return space;
}

// Sum of all choices above a bound.
Excess sum_above(double bound) {
  return [bound](const Assignment& values) {
    double sum = -bound;
    for (const auto& [name, value] : values) sum += std::stod(value);
    return sum;
  };
}

std::vector<Trial> run_study(const Sampler& sampler, int count) {
  std::vector<Trial> trials;
  while (static_cast<int>(trials.size()) < count) {
    const auto values = sampler.propose(space_of_sums(), trials);
    if (!values) break;
    Trial trial{.number = static_cast<int>(trials.size()), .state = TrialState::kCompleted, .values = *values};
    trial.score = sum_above(0)(*values);  // more is better: the bound is where the search wants to go
    trials.push_back(trial);
  }
  return trials;
}

// A uniform draw sums to 30; 14 or less is one in 400.
TEST(ConstrainedSampler, NothingOutsideIsProposedAndNothingTwice) {
  for (const bool adaptive : {false, true}) {
    std::unique_ptr<Sampler> inner;
    if (adaptive) {
      inner = std::make_unique<TpeSampler>(3);
    } else {
      inner = std::make_unique<RandomSampler>(3);
    }
    const ConstrainedSampler sampler(std::move(inner), sum_above(14), 3);
    const auto trials = run_study(sampler, 60);
    EXPECT_EQ(trials.size(), 60u);
    std::set<Assignment> seen;
    for (const Trial& trial : trials) {
      EXPECT_LE(*trial.score, 14);
      EXPECT_TRUE(seen.insert(trial.values).second);
    }
  }
}

TEST(ConstrainedSampler, WhatIsInsideIsLeftAlone) {
  const ConstrainedSampler sampler(std::make_unique<RandomSampler>(3), sum_above(1000), 3);
  const auto trials = run_study(sampler, 10), free = run_study(RandomSampler(3), 10);
  for (size_t i = 0; i < trials.size(); ++i) EXPECT_EQ(trials[i].values, free[i].values);
}

TEST(ConstrainedSampler, RepeatsUnderASeed) {
  const auto run = [] {
    return run_study(ConstrainedSampler(std::make_unique<RandomSampler>(5), sum_above(14), 5), 20);
  };
  const auto a = run(), b = run();
  for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i].values, b[i].values);
}

TEST(ConstrainedSampler, AnImpossibleBoundProposesNothing) {
  const ConstrainedSampler sampler(std::make_unique<RandomSampler>(1), sum_above(7), 1);
  EXPECT_TRUE(run_study(sampler, 5).empty());
  EXPECT_DOUBLE_EQ(sum_above(0)(least_excess(space_of_sums(), sum_above(7))), 8);
}

TEST(ConstrainedSampler, EndsWhenEverythingInsideWasTried) {
  // 8 ones; 8 times a 2 among them; 28 times two.
  for (const auto& [bound, inside] : {std::pair(8, 1u), std::pair(9, 9u), std::pair(10, 37u)}) {
    const ConstrainedSampler sampler(std::make_unique<RandomSampler>(1), sum_above(bound), 1);
    const auto trials = run_study(sampler, 100);
    EXPECT_EQ(trials.size(), inside) << "bound " << bound;
    std::set<Assignment> seen;
    for (const Trial& trial : trials) EXPECT_TRUE(seen.insert(trial.values).second);
  }
}

// All that costs the same is proposed, not only the first of the list.
TEST(ConstrainedSampler, EqualCostsAreEquallyGood) {
  SearchSpace space;
  for (int p = 0; p < 6; ++p) space.push_back({fmt::format("p{}", p), {"wide", "binary", "ternary"}});
  const Excess excess = [](const Assignment& values) {
    return static_cast<double>(
        std::count_if(values.begin(), values.end(), [](const auto& entry) { return entry.second == "wide"; }));
  };
  const ConstrainedSampler sampler(std::make_unique<RandomSampler>(2), excess, 2);
  std::vector<Trial> trials;
  while (const auto values = sampler.propose(space, trials)) {
    trials.push_back({.number = static_cast<int>(trials.size()), .state = TrialState::kCompleted, .values = *values});
  }
  EXPECT_EQ(trials.size(), 64u);
}

// A peak that several parameters share: no single change lowers it, so no repair leads anywhere. Inside, "p" has one
// choice and "free" all.
TEST(ConstrainedSampler, GoesOnFromWhatIsInsideWhereNoRepairLeads) {
  SearchSpace space;
  for (int p = 0; p < 6; ++p) space.push_back({fmt::format("p{}", p), {"16", "8", "3"}});
  for (int p = 0; p < 5; ++p) space.push_back({fmt::format("free{}", p), {"0", "1"}});
  const Excess excess = [](const Assignment& values) {
    double peak = 0;
    for (const auto& [name, value] : values) peak = std::max(peak, std::stod(value));
    return peak - 3;
  };
  const auto run = [&] {
    const ConstrainedSampler sampler(std::make_unique<RandomSampler>(4), excess, 4);
    std::vector<Trial> trials;
    while (const auto values = sampler.propose(space, trials)) {
      trials.push_back({.number = static_cast<int>(trials.size()), .state = TrialState::kCompleted, .values = *values});
    }
    return trials;
  };
  const std::vector<Trial> trials = run(), again = run();
  EXPECT_EQ(trials.size(), 32u);
  ASSERT_EQ(trials.size(), again.size());
  std::set<Assignment> seen;
  for (size_t i = 0; i < trials.size(); ++i) {
    EXPECT_LE(excess(trials[i].values), 0);
    EXPECT_TRUE(seen.insert(trials[i].values).second);
    EXPECT_EQ(trials[i].values, again[i].values);
  }
}

// The first candidates need be no network at all.
TEST(ConstrainedSampler, LeastExcessBeginsAnywhere) {
  const Excess excess = [](const Assignment& values) {
    return values.at("p0") == "4" ? HUGE_VAL : sum_above(15)(values);
  };
  EXPECT_LE(excess(least_excess(space_of_sums(), excess)), 0.0);
}

// Parameters that must agree, as filters of layers that are added: no single change leads from one network to another.
TEST(ConstrainedSampler, LeastExcessLooksAtEqualChoicesOfAll) {
  const Excess excess = [](const Assignment& values) {
    for (const auto& [name, value] : values) {
      if (value != values.at("p0")) return HUGE_VAL;
    }
    return sum_above(8)(values);
  };
  EXPECT_LE(excess(least_excess(space_of_sums(), excess)), 0.0);
  EXPECT_GT(excess(least_excess(space_of_sums(), excess, 1)), 0.0) << "else nothing was tested";
}

// Both corners are hollows with a rim; nearly everywhere else is inside.
TEST(ConstrainedSampler, LeastExcessLooksElsewhereToo) {
  SearchSpace space;
  for (int p = 0; p < 8; ++p) space.push_back({fmt::format("p{}", p), {"0", "1"}});
  const Excess excess = [](const Assignment& values) {
    const auto ones =
        std::count_if(values.begin(), values.end(), [](const auto& entry) { return entry.second == "1"; });
    const auto from_corner = std::min<std::ptrdiff_t>(ones, 8 - ones);
    return from_corner == 0 ? 1.0 : from_corner == 1 ? 2.0 : 0.0;
  };
  EXPECT_LE(excess(least_excess(space, excess)), 0.0);
  EXPECT_GT(excess(least_excess(space, excess, 2)), 0.0) << "else nothing was tested";
}

}  // namespace
}  // namespace nibble::search
