// Samplers around others: a list that comes first, and weights of the nearest trial.
#include "nibble/search/enqueued_sampler.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "nibble/search/annotation.h"
#include "nibble/search/constrained_sampler.h"
#include "nibble/search/nearest_sampler.h"
#include "nibble/search/random_sampler.h"

namespace nibble::search {
namespace {

const SearchSpace kSpace = {{"a", {"1", "2", "3", "4"}}, {"b", {"1", "2", "3", "4"}}};

Assignment pair(const char* a, const char* b) { return {{"a", a}, {"b", b}}; }

std::vector<Assignment> propose(const Sampler& sampler, int count) {
  std::vector<Trial> trials;
  std::vector<Assignment> values;
  for (int i = 0; i < count; ++i) {
    const auto next = sampler.propose(kSpace, trials);
    if (!next) break;
    values.push_back(*next);
    trials.push_back({.number = i, .state = TrialState::kCompleted, .values = *next, .score = i});
  }
  return values;
}

TEST(EnqueuedSampler, TheListComesFirstAndNothingTwice) {
  const EnqueuedSampler sampler(std::make_unique<RandomSampler>(1),
                                {pair("4", "4"), pair("4", "4"), pair("9", "1"), pair("1", "3")});
  const auto values = propose(sampler, 8);
  ASSERT_EQ(values.size(), 8u);
  EXPECT_EQ(values[0], pair("4", "4"));
  EXPECT_EQ(values[1], pair("1", "3"));  // what is there already or no point of the space is passed over
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(std::count(values.begin(), values.end(), values[i]), 1) << i;
  }
}

TEST(EnqueuedSampler, WhatIsOutsideOfBoundsIsRepairedOnce) {
  const auto above = [](const Assignment& values) { return std::stod(values.at("a")) + std::stod(values.at("b")) - 4; };
  const ConstrainedSampler sampler(
      std::make_unique<EnqueuedSampler>(std::make_unique<RandomSampler>(1),
                                        std::vector<Assignment>{pair("4", "4"), pair("1", "3")}),
      above, 1);
  const auto values = propose(sampler, 2);
  ASSERT_EQ(values.size(), 2u);
  EXPECT_LE(above(values[0]), 0);
  if (values[0] != pair("1", "3")) {
    EXPECT_EQ(values[1], pair("1", "3"));
  }
}

TEST(NearestSampler, NamesTheNearestCompletedTrial) {
  const NearestSampler sampler(std::make_unique<EnqueuedSampler>(
      std::make_unique<RandomSampler>(1),
      std::vector<Assignment>{pair("1", "1"), pair("2", "2"), pair("3", "3"), pair("1", "2")}));
  std::vector<Trial> trials = {{.number = 0, .state = TrialState::kCompleted, .values = pair("1", "1"), .score = 0.1},
                               {.number = 1, .state = TrialState::kCompleted, .values = pair("2", "2"), .score = 0.2},
                               {.number = 2, .state = TrialState::kCompleted, .values = pair("3", "3"), .score = 0.9}};
  EXPECT_FALSE(sampler.propose(kSpace, {})->contains(kWeightsFrom));
  const auto values = sampler.propose(kSpace, trials);  // (1, 2): one away from both 0 and 1
  EXPECT_EQ(values->at("b"), "2");
  EXPECT_EQ(annotated_number(*values, kWeightsFrom), 1);
  trials[1].state = TrialState::kFailed;
  EXPECT_EQ(annotated_number(*sampler.propose(kSpace, trials), kWeightsFrom), 0);
}

}  // namespace
}  // namespace nibble::search
