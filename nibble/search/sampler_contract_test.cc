// What every sampler keeps: the same seed and history give the same proposal, choices are legal and new,
// a study that is opened again goes on alike; and adaptive ones find more than chance.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <set>

#include "nibble/core/error.h"
#include "nibble/search/bayesian_sampler.h"
#include "nibble/search/nsga2_sampler.h"
#include "nibble/search/random_sampler.h"
#include "nibble/search/storage.h"
#include "nibble/search/tpe_sampler.h"
#include "support/golden.h"

namespace nibble::search {
namespace {

struct Kind {
  const char* name;
  std::function<std::unique_ptr<Sampler>(uint64_t seed)> make;
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all = {
      {"Random", [](uint64_t seed) { return std::make_unique<RandomSampler>(seed); }},
      {"Tpe", [](uint64_t seed) { return std::make_unique<TpeSampler>(seed); }},
      {"Bayesian",
       [](uint64_t seed) {
         return std::make_unique<BayesianSampler>(seed, BayesianOptions{.num_initial_points = 10});
       }},
      {"Nsga2", [](uint64_t seed) { return std::make_unique<Nsga2Sampler>(seed, Nsga2Options{.population = 10}); }}};
  return all;
}

// Six choices of five; a hill with a ridge: neighbouring parameters should agree.
SearchSpace hill_space() {
  SearchSpace space;
  for (int p = 0; p < 6; ++p) space.push_back({fmt::format("p{}", p), {"0", "1", "2", "3", "4"}});
  space.push_back({"fixed", {"x"}});
  return space;
}

// accuracy falls with the distance from the top, cost grows with the choices: the two pull apart.
void measure(Trial& trial) {
  double accuracy = 1, cost = 0;
  for (int p = 0; p < 6; ++p) {
    const double x = std::stod(trial.values.at(fmt::format("p{}", p)));
    const double next = std::stod(trial.values.at(fmt::format("p{}", (p + 1) % 6)));
    accuracy -= 0.02 * (x - 3) * (x - 3) + 0.005 * std::abs(x - next);
    cost += x * (p + 1);
  }
  trial.score = accuracy;
  trial.metrics = {{"accuracy", accuracy}, {"cost", cost}};
  trial.state = TrialState::kCompleted;
}

std::vector<Trial> run_study(const Sampler& sampler, const SearchSpace& space, int count) {
  std::vector<Trial> trials;
  while (static_cast<int>(trials.size()) < count) {
    const auto values = sampler.propose(space, trials);
    if (!values) break;
    Trial trial;
    trial.number = static_cast<int>(trials.size());
    trial.values = *values;
    if (trial.number % 11 == 7) {
      trial.state = TrialState::kFailed;
    } else {
      measure(trial);
    }
    trials.push_back(std::move(trial));
  }
  return trials;
}

class SamplerContract : public ::testing::TestWithParam<Kind> {};

TEST_P(SamplerContract, SameSeedAndHistoryGiveTheSameProposal) {
  const SearchSpace space = hill_space();
  const auto a = run_study(*GetParam().make(5), space, 40), b = run_study(*GetParam().make(5), space, 40);
  ASSERT_EQ(a.size(), 40u);
  for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i].values, b[i].values) << i;
  EXPECT_NE(run_study(*GetParam().make(6), space, 3)[0].values, a[0].values);
}

TEST_P(SamplerContract, ProposesLegalChoicesAndNoneTwice) {
  const SearchSpace space = hill_space();
  std::set<Assignment> seen;
  for (const Trial& trial : run_study(*GetParam().make(2), space, 60)) {
    EXPECT_TRUE(seen.insert(trial.values).second) << trial.number;
    ASSERT_EQ(trial.values.size(), space.size());
    for (const Parameter& parameter : space) {
      const auto& all = parameter.candidates;
      EXPECT_NE(std::find(all.begin(), all.end(), trial.values.at(parameter.name)), all.end());
    }
  }
}

TEST_P(SamplerContract, UnfinishedTrialsAreNotAskedForTheirScores) {
  const SearchSpace space = hill_space();
  auto trials = run_study(*GetParam().make(3), space, 30);
  for (size_t i = 25; i < trials.size(); ++i) {
    trials[i].state = i % 2 == 0 ? TrialState::kRunning : TrialState::kWaiting;
    trials[i].score.reset();
    trials[i].metrics.clear();
  }
  ASSERT_TRUE(GetParam().make(3)->propose(space, trials).has_value());
  for (Trial& trial : trials) trial.state = TrialState::kFailed;
  EXPECT_TRUE(GetParam().make(3)->propose(space, trials).has_value());
}

TEST_P(SamplerContract, ASmallSpaceEnds) {
  const SearchSpace tiny = {{"a", {"0", "1"}}, {"b", {"0", "1"}}};
  std::vector<Trial> trials;
  const auto sampler = GetParam().make(1);
  while (const auto values = sampler->propose(tiny, trials)) {
    ASSERT_LT(trials.size(), 4u);
    Trial trial;
    trial.number = static_cast<int>(trials.size());
    trial.values = *values;
    trial.score = 0.5;
    trial.metrics = {{"accuracy", 0.5}, {"cost", 1.0}};
    trial.state = TrialState::kCompleted;
    trials.push_back(trial);
  }
  EXPECT_EQ(trials.size(), 4u);
}

TEST_P(SamplerContract, AParameterWithoutCandidatesIsRefused) {
  EXPECT_THROW(GetParam().make(1)->propose({{"a", {}}}, {}), InvalidArgument);
}

TEST_P(SamplerContract, AStudyThatIsOpenedAgainGoesOnAlike) {
  const SearchSpace space = hill_space();
  const std::string file = (testing::scratch_dir(fmt::format("contract_{}", GetParam().name)) / "study.db").string();
  std::vector<Assignment> values;
  for (int round = 0; round < 3; ++round) {  // three programs, one after the other
    Storage storage =
        round == 0 ? Storage::create(file, {.name = "hill", .seed = 9, .max_trials = 30}) : Storage::open(file);
    const auto sampler = GetParam().make(storage.info().seed);
    for (int i = 0; i < 10; ++i) {
      const auto claim = storage.claim("worker", space, *sampler);
      ASSERT_TRUE(claim.has_value());
      Trial trial{.values = claim->values};
      measure(trial);
      values.push_back(claim->values);
      ASSERT_TRUE(storage.complete(*claim, *trial.score, trial.metrics, ""));
    }
  }
  std::vector<Trial> trials;
  for (int i = 0; i < 30; ++i) {  // one program that was never ended
    Trial trial{.number = i, .values = *GetParam().make(9)->propose(space, trials)};
    measure(trial);
    EXPECT_EQ(trial.values, values[static_cast<size_t>(i)]) << i;
    trials.push_back(trial);
  }
}

INSTANTIATE_TEST_SUITE_P(Samplers, SamplerContract, ::testing::ValuesIn(kinds()),
                         [](const auto& info) { return std::string(info.param.name); });

// Means over fixed seeds, of deterministic samplers: the same numbers in every run.
double mean_best(const Kind& kind) {
  constexpr int kSeeds = 10;
  double sum = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    sum += *best_trial(run_study(*kind.make(seed), hill_space(), 60))->score;
  }
  return sum / kSeeds;
}

double mean_hypervolume(const Kind& kind) {
  constexpr int kSeeds = 10;
  const std::vector<Objective> objectives = {{"accuracy", true}, {"cost", false}};
  double sum = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    std::vector<Losses> points;
    for (const Trial& trial : run_study(*kind.make(seed), hill_space(), 100)) {
      if (Losses losses = losses_of(trial, objectives); !losses.empty()) points.push_back(losses);
    }
    sum += hypervolume(points, {0.0, 84.0});
  }
  return sum / kSeeds;
}

TEST(AdaptiveSamplers, FindHigherScoresThanChance) {
  const double chance = mean_best(kinds()[0]);
  printf("mean best of 60 trials: Random %.4f\n", chance);
  for (const size_t k : {1u, 2u}) {
    const double mean = mean_best(kinds()[k]);
    printf("mean best of 60 trials: %s %.4f\n", kinds()[k].name, mean);
    EXPECT_GT(mean, chance) << kinds()[k].name;
  }
}

TEST(AdaptiveSamplers, Nsga2DominatesMoreThanChance) {
  const double chance = mean_hypervolume(kinds()[0]), mean = mean_hypervolume(kinds()[3]);
  printf("mean hypervolume of 100 trials: Random %.3f, Nsga2 %.3f\n", chance, mean);
  EXPECT_GT(mean, chance);
}

TEST(Samplers, OptionsOutOfRangeAreRefused) {
  EXPECT_THROW(BayesianSampler(1, {.alpha = 0}), InvalidArgument);
  EXPECT_THROW(BayesianSampler(1, {.beta = -1}), InvalidArgument);
  EXPECT_THROW(Nsga2Sampler(1, {.objectives = {}}), InvalidArgument);
  EXPECT_THROW(Nsga2Sampler(1, {.population = 1}), InvalidArgument);
  EXPECT_THROW(Nsga2Sampler(1, {.mutation = 2}), InvalidArgument);
}

}  // namespace
}  // namespace nibble::search
