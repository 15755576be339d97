#include "nibble/search/knapsack.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"
#include "nibble/core/philox.h"

namespace nibble::search {
namespace {

using Layers = std::vector<std::vector<KnapsackOption>>;

TEST(Knapsack, TakesTheLeastLossWithinTheBudget) {
  const Layers layers = {{{1, 5}, {3, 1}}, {{2, 4}, {4, 0}}};
  const double bounds[] = {2.9, 3, 4.9, 5, 7};
  const double losses[] = {HUGE_VAL, 9, 9, 5, 1};
  for (size_t i = 0; i < 5; ++i) {
    const auto choice = solve_knapsack(layers, bounds[i]);
    ASSERT_EQ(choice.has_value(), std::isfinite(losses[i])) << bounds[i];
    if (choice) {
      EXPECT_EQ(choice->loss, losses[i]) << bounds[i];
    }
  }
  EXPECT_EQ(solve_knapsack(layers, 100)->options, (std::vector<int>{1, 1}));
  EXPECT_EQ(knapsack_front(layers, 100).size(), 3u);  // cost 5 once: equal sums stand for one another
}

// Every combination, tried.
TEST(Knapsack, EqualsEnumeration) {
  RandomStream random({.seed = 8});
  for (int round = 0; round < 200; ++round) {
    Layers layers(1 + random.below(5));
    int64_t combinations = 1;
    for (auto& options : layers) {
      options.resize(1 + random.below(4));
      for (KnapsackOption& option : options) option = {random.uniform_double(), random.uniform_double() - 0.2};
      combinations *= static_cast<int64_t>(options.size());
    }
    const double budget = random.uniform_double() * static_cast<double>(layers.size());
    double least = HUGE_VAL;
    for (int64_t k = 0; k < combinations; ++k) {
      double cost = 0, loss = 0;
      int64_t rest = k;
      for (const auto& options : layers) {
        const auto count = static_cast<int64_t>(options.size());
        cost += options[static_cast<size_t>(rest % count)].cost;
        loss += options[static_cast<size_t>(rest % count)].loss;
        rest /= count;
      }
      if (cost <= budget) least = std::min(least, loss);
    }
    const auto choice = solve_knapsack(layers, budget);
    ASSERT_EQ(choice.has_value(), std::isfinite(least));
    if (!choice) continue;
    EXPECT_NEAR(choice->loss, least, 1e-12);
    EXPECT_LE(choice->cost, budget);
    double cost = 0;
    for (size_t i = 0; i < layers.size(); ++i) cost += layers[i][static_cast<size_t>(choice->options[i])].cost;
    EXPECT_NEAR(cost, choice->cost, 1e-12);
  }
}

TEST(Knapsack, RefusesWhatIsNoProblem) {
  EXPECT_THROW(knapsack_front({{}}, 1), InvalidArgument);
  EXPECT_THROW(knapsack_front({{{-1, 0}}}, 1), InvalidArgument);
  EXPECT_THROW(knapsack_front({{{1, NAN}}}, 1), InvalidArgument);
}

}  // namespace
}  // namespace nibble::search
