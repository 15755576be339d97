#include "nibble/search/random_sampler.h"

#include <gtest/gtest.h>

#include <set>

#include "nibble/core/error.h"

namespace nibble::search {
namespace {

// Trials 0 .. count-1 as a sampler proposes them, or fewer when it says that there are no more.
std::vector<Trial> run_sampler(const Sampler& sampler, const SearchSpace& space, int count) {
  std::vector<Trial> trials;
  while (static_cast<int>(trials.size()) < count) {
    const std::optional<Assignment> values = sampler.propose(space, trials);
    if (!values) break;
    Trial trial;
    trial.number = static_cast<int>(trials.size());
    trial.values = *values;
    trials.push_back(trial);
  }
  return trials;
}

std::vector<Assignment> values_of(const std::vector<Trial>& trials) {
  std::vector<Assignment> values;
  for (const Trial& trial : trials) values.push_back(trial.values);
  return values;
}

const SearchSpace kSpace = {{"kernel", {"binary", "ternary", "quantized_bits(4,0,1)"}},
                            {"filters", {"0.5", "0.75", "1.0", "1.5", "2.0"}},
                            {"bias", {"quantized_bits(8,3,1)"}}};

TEST(RandomSampler, RepeatsUnderASeed) {
  EXPECT_EQ(values_of(run_sampler(RandomSampler(42), kSpace, 10)),
            values_of(run_sampler(RandomSampler(42), kSpace, 10)));
}

TEST(RandomSampler, OtherSeedsGiveOtherTrials) {
  EXPECT_NE(values_of(run_sampler(RandomSampler(1), kSpace, 5)), values_of(run_sampler(RandomSampler(2), kSpace, 5)));
}

TEST(RandomSampler, IsBlindToStatesAndScores) {
  const RandomSampler sampler(7);
  std::vector<Trial> trials = run_sampler(sampler, kSpace, 6);
  const std::optional<Assignment> before = sampler.propose(kSpace, trials);
  for (Trial& trial : trials) {
    trial.state = trial.number % 2 == 0 ? TrialState::kCompleted : TrialState::kFailed;
    trial.score = trial.number;
  }
  EXPECT_EQ(sampler.propose(kSpace, trials), before);
}

TEST(RandomSampler, ProposesNothingTwiceAndOneValueOfEveryParameter) {
  const auto trials = run_sampler(RandomSampler(3), kSpace, 15);
  std::set<Assignment> seen;
  for (const Trial& trial : trials) {
    EXPECT_TRUE(seen.insert(trial.values).second);
    EXPECT_EQ(trial.values.size(), kSpace.size());
    EXPECT_EQ(trial.values.at("bias"), "quantized_bits(8,3,1)");
  }
}

TEST(RandomSampler, EndsWhenTwentyOneDrawsCollide) {
  const SearchSpace tiny = {{"a", {"0", "1"}}, {"b", {"0", "1"}}};
  const auto trials = run_sampler(RandomSampler(11), tiny, 100);
  // 21 draws miss the last of 4 assignments with probability (3/4)^21 = 0.2 %.
  EXPECT_EQ(trials.size(), 4u);
  EXPECT_FALSE(RandomSampler(11).propose(tiny, trials).has_value());
  const SearchSpace fixed = {{"a", {"0"}}};
  EXPECT_EQ(run_sampler(RandomSampler(11), fixed, 100).size(), 1u);
}

TEST(RandomSampler, DrawsUniformly) {
  const SearchSpace wide = {{"a", {"0", "1", "2", "3", "4"}}, {"b", std::vector<std::string>(4096)}};
  SearchSpace space = wide;
  for (size_t i = 0; i < space[1].candidates.size(); ++i) space[1].candidates[i] = std::to_string(i);
  std::map<std::string, int> counts;
  for (const Trial& trial : run_sampler(RandomSampler(5), space, 1000)) ++counts[trial.values.at("a")];
  for (const auto& [value, count] : counts) EXPECT_NEAR(count, 200, 60) << value;  // 4.7 standard deviations
}

TEST(RandomSampler, RefusesAParameterWithoutCandidates) {
  const SearchSpace empty = {{"a", {}}};
  EXPECT_THROW(RandomSampler(1).propose(empty, {}), InvalidArgument);
}

TEST(SearchSpace, CountsItsAssignments) {
  EXPECT_EQ(size_of({}), 1);
  EXPECT_EQ(size_of(kSpace), 15);
  SearchSpace huge;
  for (int i = 0; i < 80; ++i) huge.push_back({"p" + std::to_string(i), {"0", "1"}});
  EXPECT_EQ(size_of(huge), int64_t{1} << 62);
}

TEST(BestTrial, IsTheFirstOfTheHighestScores) {
  std::vector<Trial> trials(4);
  const double scores[] = {0.5, 0.9, 0.9, 2.0};
  for (int i = 0; i < 4; ++i) {
    trials[i].number = i;
    trials[i].score = scores[i];
    trials[i].state = i == 3 ? TrialState::kFailed : TrialState::kCompleted;
  }
  ASSERT_NE(best_trial(trials), nullptr);
  EXPECT_EQ(best_trial(trials)->number, 1);
  EXPECT_EQ(best_trial({}), nullptr);
}

// As where errors are 0: their scores are, whatever the cost.
TEST(BestTrial, OfEqualScoresIsTheCheapestWhereCostsAreKnown) {
  std::vector<Trial> trials(5);
  const std::optional<double> costs[] = {9, std::nullopt, 3, 3, 1};
  for (int i = 0; i < 5; ++i) {
    trials[i].number = i;
    trials[i].score = i == 4 ? -1 : 0;
    trials[i].state = TrialState::kCompleted;
    if (costs[i]) trials[i].metrics["cost"] = *costs[i];
  }
  EXPECT_EQ(best_trial(trials)->number, 2);
}

}  // namespace
}  // namespace nibble::search
