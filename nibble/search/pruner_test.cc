#include "nibble/search/pruner.h"

#include <gtest/gtest.h>

#include <vector>

#include "nibble/core/error.h"
#include "nibble/core/philox.h"

namespace nibble::search {
namespace {

struct Row {
  int step;
  double best;
  std::vector<double> others;
  bool stops;
};
// min_steps 2, factor 3: decisions after steps 2, 6, 18.
const Row kRows[] = {
    {1, 0.1, {0.9, 0.9, 0.9}, false},  // no rung
    {2, 0.1, {}, false},               // alone
    {2, 0.1, {0.2}, true},             // the best of two goes on
    {2, 0.3, {0.2}, false},
    {2, 0.2, {0.2}, false},                      // as good as the best
    {6, 0.5, {0.9, 0.4, 0.3, 0.2, 0.1}, false},  // second of six: two go on
    {6, 0.35, {0.9, 0.4, 0.3, 0.2, 0.1}, true},  // third of six
    {3, 0.0, {0.9, 0.4}, false},
    {18, 0.0, {0.9, 0.4}, true},
};

TEST(SuccessiveHalving, KeepsTheBestPartOfEachRung) {
  const SuccessiveHalvingPruner pruner({.min_steps = 2, .factor = 3});
  for (const Row& row : kRows) EXPECT_EQ(pruner.should_stop(row.step, row.best, row.others), row.stops) << row.step;
}

TEST(SuccessiveHalving, DecidesAtPowersOfTheFactor) {
  const SuccessiveHalvingPruner pruner({.min_steps = 2, .factor = 3});
  std::vector<int> steps;
  for (int step = 1; step <= 60; ++step) {
    if (pruner.decides_at(step)) steps.push_back(step);
  }
  EXPECT_EQ(steps, (std::vector<int>{2, 6, 18, 54}));
}

// Trials whose curves rank alike at all steps: about a third of them passes each rung, the best one all.
TEST(SuccessiveHalving, SpendsStepsOnTheBest) {
  const SuccessiveHalvingPruner pruner({});
  RandomStream random({.seed = 2});
  std::vector<std::vector<double>> reached(10);  // scores at step
  int steps = 0;
  double best = 0, best_whole = 0;
  for (int trial = 0; trial < 200; ++trial) {
    const double quality = random.uniform_double();
    best = std::max(best, quality);
    for (int step = 1; step <= 9; ++step) {
      ++steps;
      const auto& others = reached[static_cast<size_t>(step)];
      const bool stops = pruner.should_stop(step, quality, others);
      reached[static_cast<size_t>(step)].push_back(quality);
      if (stops) break;
      if (step == 9) best_whole = std::max(best_whole, quality);
    }
  }
  EXPECT_EQ(best_whole, best);
  EXPECT_LT(steps, 200 * 9 / 3);
}

TEST(SuccessiveHalving, OptionsOutOfRangeAreRefused) {
  EXPECT_THROW(SuccessiveHalvingPruner({.min_steps = 0}), InvalidArgument);
  EXPECT_THROW(SuccessiveHalvingPruner({.factor = 1}), InvalidArgument);
}

}  // namespace
}  // namespace nibble::search
