#include "nibble/search/hyperband_sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <set>

#include "nibble/core/philox.h"
#include "nibble/search/annotation.h"
#include "nibble/search/constrained_sampler.h"
#include "nibble/search/random_sampler.h"

namespace nibble::search {
namespace {

SearchSpace wide_space() {
  SearchSpace space;
  for (int p = 0; p < 5; ++p) space.push_back({fmt::format("p{}", p), {"1", "2", "3", "4"}});
  return space;
}

struct RoundRow {
  HyperbandOptions options;
  std::vector<std::vector<int>> rounds;  // bracket, round, trials, epochs
};
// By hand from the formulas. 100 and 3: 1 + log_3(100) = 5.19, so 6 / (s + 1) * 3^(s - r).
const RoundRow kRounds[] = {{{.max_epochs = 9, .factor = 3},
                             {{2, 0, 9, 1}, {1, 0, 5, 3}, {0, 0, 3, 9}, {2, 1, 3, 3}, {1, 1, 2, 9}, {2, 2, 1, 9}}},
                            {{.max_epochs = 100, .factor = 3},
                             {{4, 0, 98, 2},
                              {3, 0, 41, 4},
                              {2, 0, 18, 12},
                              {1, 0, 9, 34},
                              {0, 0, 6, 100},
                              {4, 1, 33, 4},
                              {3, 1, 14, 12},
                              {2, 1, 6, 34},
                              {1, 1, 3, 100},
                              {4, 2, 11, 12},
                              {3, 2, 5, 34},
                              {2, 2, 2, 100},
                              {4, 3, 4, 34},
                              {3, 3, 2, 100},
                              {4, 4, 2, 100}}},
                            {{.max_epochs = 1, .factor = 3}, {{0, 0, 1, 1}}},
                            {{.max_epochs = 4, .factor = 2, .iterations = 1},
                             {{2, 0, 4, 1}, {1, 0, 3, 2}, {0, 0, 3, 4}, {2, 1, 2, 2}, {1, 1, 2, 4}, {2, 2, 1, 4}}}};

TEST(Hyperband, RoundsFollowTheFormulas) {
  for (const RoundRow& row : kRounds) {
    std::vector<std::vector<int>> got;
    int sum = 0;
    for (const HyperbandRound& round : hyperband_rounds(row.options)) {
      got.push_back({round.bracket, round.round, round.trials, round.epochs});
      sum += round.trials;
    }
    EXPECT_EQ(got, row.rounds) << row.options.max_epochs;
    EXPECT_EQ(hyperband_trials(row.options), sum);
  }
  EXPECT_EQ(hyperband_trials({.max_epochs = 9, .factor = 3, .iterations = 2}), 46);
  // 2,333,993 an iteration: the largest options of a run_config are more than an int holds.
  EXPECT_EQ(hyperband_trials({.max_epochs = 1'000'000, .factor = 2, .iterations = 1000}),
            std::numeric_limits<int>::max());
}

// Better with larger choices; a little luck that training longer takes away.
void finish(Trial& trial) {
  double sum = 0;
  for (const auto& [name, value] : without_annotations(trial.values)) sum += std::stod(value);
  trial.score = sum - 3.0 / *annotated_number(trial.values, kEpochs);
  trial.state = trial.number % 10 == 6 ? TrialState::kFailed : TrialState::kCompleted;
  if (trial.state == TrialState::kFailed) trial.score.reset();
}

// As many workers, whose trials end in a random order.
std::vector<Trial> run_study(const Sampler& sampler, const SearchSpace& space, int workers, uint32_t luck) {
  std::vector<Trial> trials;
  std::vector<size_t> running;
  RandomStream random({.seed = luck});
  for (bool is_over = false; !is_over || !running.empty();) {
    bool waits = false;
    if (!is_over && static_cast<int>(running.size()) < workers) {
      try {
        if (const auto values = sampler.propose(space, trials)) {
          running.push_back(trials.size());
          trials.push_back(
              {.number = static_cast<int>(trials.size()), .state = TrialState::kRunning, .values = *values});
          continue;
        }
        is_over = true;
      } catch (const WaitForTrials&) {
        waits = true;
      }
    }
    EXPECT_TRUE(!waits || !running.empty()) << "nothing to wait for";
    if (running.empty()) break;
    const size_t i = random.below(static_cast<uint32_t>(running.size()));
    finish(trials[running[i]]);
    running.erase(running.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return trials;
}

HyperbandSampler sampler_of(HyperbandOptions options) {
  return HyperbandSampler(std::make_unique<RandomSampler>(4), options);
}

TEST(Hyperband, TrialsAreTheSameWhateverTheNumberOfWorkers) {
  const HyperbandOptions options{.max_epochs = 9, .factor = 3, .iterations = 2};
  const auto one = run_study(sampler_of(options), wide_space(), 1, 1);
  EXPECT_EQ(one.size(), 46u);
  for (const int workers : {2, 3, 8, 100}) {
    const auto many = run_study(sampler_of(options), wide_space(), workers, static_cast<uint32_t>(workers));
    ASSERT_EQ(many.size(), one.size()) << workers;
    for (size_t i = 0; i < one.size(); ++i) EXPECT_EQ(many[i].values, one[i].values) << workers << " " << i;
  }
}

TEST(Hyperband, TheBestOfARoundGoOn) {
  const auto trials = run_study(sampler_of({.max_epochs = 9, .factor = 3}), wide_space(), 1, 1);
  std::vector<double> first_round;
  std::vector<double> promoted;
  for (const Trial& trial : trials) {
    if (trial.values.at("@bracket") != "0.2") continue;
    if (trial.values.at("@round") == "0" && trial.score) first_round.push_back(*trial.score);
    if (trial.values.at("@round") != "1") continue;
    const auto from = annotated_number(trial.values, kResumes);
    ASSERT_TRUE(from.has_value());
    const Trial& before = trials[static_cast<size_t>(*from)];
    EXPECT_EQ(without_annotations(trial.values), without_annotations(before.values));
    EXPECT_EQ(annotated_number(trial.values, kFirst), from);
    EXPECT_EQ(annotated_number(trial.values, kEpochs), 3);
    promoted.push_back(*before.score);
  }
  std::sort(first_round.rbegin(), first_round.rend());
  first_round.resize(3);
  EXPECT_EQ(promoted, first_round);
  // The last one has come through all rounds of its bracket.
  const Trial& last = trials.back();
  EXPECT_EQ(annotated_number(last.values, kEpochs), 9);
  const Trial& root = trials[static_cast<size_t>(*annotated_number(last.values, kFirst))];
  EXPECT_EQ(root.values.at("@round"), "0");
}

TEST(Hyperband, ASpaceSmallerThanTheBracketsEnds) {
  const SearchSpace tiny = {{"a", {"1", "2"}}, {"b", {"1", "2"}}};
  const auto trials = run_study(sampler_of({.max_epochs = 9, .factor = 3}), tiny, 2, 1);
  std::set<Assignment> drawn;
  int promoted = 0;
  for (const Trial& trial : trials) {
    if (trial.values.at("@round") == "0") {
      EXPECT_TRUE(drawn.insert(without_annotations(trial.values)).second);
    } else {
      ++promoted;
    }
  }
  EXPECT_EQ(drawn.size(), 4u);
  EXPECT_GE(promoted, 2);
}

TEST(Hyperband, KeepsInsideBounds) {
  const auto above = [](const Assignment& values) {
    double sum = -9;
    for (const auto& [name, value] : values) sum += std::stod(value);
    return sum;
  };
  const HyperbandSampler sampler(std::make_unique<ConstrainedSampler>(std::make_unique<RandomSampler>(4), above, 4),
                                 {.max_epochs = 9});
  const auto trials = run_study(sampler, wide_space(), 2, 1);
  EXPECT_GE(trials.size(), 20u);
  for (const Trial& trial : trials) EXPECT_LE(above(without_annotations(trial.values)), 0);
}

TEST(Hyperband, OptionsOutOfRangeAreRefused) {
  EXPECT_THROW(hyperband_rounds({.max_epochs = 0}), InvalidArgument);
  EXPECT_THROW(hyperband_rounds({.factor = 1}), InvalidArgument);
  EXPECT_THROW(hyperband_rounds({.iterations = 0}), InvalidArgument);
}

TEST(Annotations, AreWholeNumbersOrDamage) {
  EXPECT_EQ(annotated_number({{"@epochs", "12"}}, kEpochs), 12);
  EXPECT_FALSE(annotated_number({{"epochs", "12"}}, kEpochs).has_value());
  for (const char* text : {"", "-1", "3x", "99999999999"}) {
    EXPECT_THROW(annotated_number({{"@epochs", text}}, kEpochs), CorruptFile) << text;
  }
}

}  // namespace
}  // namespace nibble::search
