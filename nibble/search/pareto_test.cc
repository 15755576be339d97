#include "nibble/search/pareto.h"

#include <gtest/gtest.h>

#include <cmath>

#include "nibble/core/error.h"
#include "nibble/core/philox.h"

namespace nibble::search {
namespace {

struct VolumeCase {
  const char* name;
  std::vector<Losses> points;
  Losses reference;
  double volume;
};

class Hypervolume : public ::testing::TestWithParam<VolumeCase> {};
TEST_P(Hypervolume, IsExact) {
  EXPECT_DOUBLE_EQ(hypervolume(GetParam().points, GetParam().reference), GetParam().volume);
}
INSTANTIATE_TEST_SUITE_P(
    Cases, Hypervolume,
    ::testing::Values(VolumeCase{"NoPoints", {}, {1, 1}, 0}, VolumeCase{"OneDimension", {{2}, {1}}, {4}, 3},
                      VolumeCase{"OneSquare", {{0, 0}}, {2, 3}, 6},
                      VolumeCase{"Stairs", {{0, 2}, {1, 1}, {2, 0}}, {3, 3}, 6},
                      VolumeCase{"DominatedAndEqualPointsAddNothing", {{0, 2}, {1, 2}, {0, 2}}, {3, 3}, 3},
                      VolumeCase{"OutsideCountsNothing", {{3, 0}, {0, 4}}, {3, 3}, 0},
                      VolumeCase{"OneCube", {{0, 0, 0}}, {2, 3, 4}, 24},
                      VolumeCase{"TwoBoxes", {{0, 1, 1}, {1, 0, 0}}, {2, 2, 2}, 5},
                      VolumeCase{"ThreeBoxes", {{0, 1, 2}, {1, 2, 0}, {2, 0, 1}}, {3, 3, 3}, 13}),
    [](const auto& info) { return info.param.name; });

// The definition, on a grid of unit cells.
TEST(HypervolumeOracle, CountsTheCellsOfRandomPoints) {
  RandomStream random({.seed = 4});
  for (int round = 0; round < 50; ++round) {
    const size_t dimensions = 2 + static_cast<size_t>(round % 2);
    std::vector<Losses> points(8, Losses(dimensions));
    for (Losses& point : points) {
      for (double& value : point) value = random.below(7);
    }
    int cells = 0;
    for (int cell = 0; cell < 216; ++cell) {
      const Losses corner = {static_cast<double>(cell % 6), static_cast<double>(cell / 6 % 6),
                             static_cast<double>(cell / 36)};
      if (dimensions == 2 && cell >= 36) break;
      bool covered = false;
      for (const Losses& point : points) {
        bool below = true;
        for (size_t d = 0; d < dimensions; ++d) below = below && point[d] <= corner[d];
        covered = covered || below;
      }
      cells += covered;
    }
    EXPECT_DOUBLE_EQ(hypervolume(points, Losses(dimensions, 6.0)), cells);
  }
}

TEST(Hypervolume, RefusesWhatItCannotCompute) {
  EXPECT_THROW(hypervolume(std::vector<Losses>{}, Losses(4, 1.0)), InvalidArgument);
  EXPECT_THROW(hypervolume(std::vector<Losses>{{1, 2, 3}}, Losses{4, 4}), InvalidArgument);
  for (const double value : {static_cast<double>(NAN), HUGE_VAL, -HUGE_VAL}) {
    EXPECT_THROW(hypervolume(std::vector<Losses>{{1, 2}}, Losses{4, value}), InvalidArgument) << value;
  }
}

TEST(NondominatedRanks, PeelsFrontAfterFront) {
  const std::vector<Losses> points = {{0, 2}, {2, 0}, {1, 1}, {1, 2}, {2, 2}, {1, 1}};
  EXPECT_EQ(nondominated_ranks(points), (std::vector<int>{0, 0, 0, 1, 2, 0}));
}

TEST(CrowdingDistances, EndsAreInfinite) {
  const std::vector<Losses> points = {{0, 4}, {1, 2}, {3, 1}, {4, 0}};
  const auto distances = crowding_distances(points, nondominated_ranks(points));
  EXPECT_TRUE(std::isinf(distances[0]) && std::isinf(distances[3]));
  EXPECT_DOUBLE_EQ(distances[1], 3.0 / 4 + 3.0 / 4);
  EXPECT_DOUBLE_EQ(distances[2], 3.0 / 4 + 2.0 / 4);
}

TEST(ParetoFront, LeavesOutWhatIsDominatedUnfinishedOrWithoutTheMetric) {
  const double rows[][2] = {{0.9, 10}, {0.8, 5}, {0.7, 6}, {0.9, 10}, {0.95, 1}, {0.5, NAN}};
  std::vector<Trial> trials;
  for (const auto& [accuracy, cost] : rows) {
    Trial trial;
    trial.number = static_cast<int>(trials.size());
    trial.state = trial.number == 4 ? TrialState::kRunning : TrialState::kCompleted;
    trial.metrics = {{"accuracy", accuracy}, {"cost", cost}};
    trials.push_back(trial);
  }
  const std::vector<Objective> objectives = {{"accuracy", true}, {"cost", false}};
  EXPECT_EQ(pareto_front(trials, objectives), (std::vector<int>{0, 1}));
  EXPECT_TRUE(pareto_front(trials, std::vector<Objective>{{"bits", false}}).empty());
}

Trial completed(int number, int64_t finished_ms, double accuracy, double cost) {
  return {.number = number,
          .state = TrialState::kCompleted,
          .score = accuracy,
          .metrics = {{"accuracy", accuracy}, {"cost", cost}},
          .finished_ms = finished_ms};
}

// Two trials that are the ends of their front dominate something, and so does one alone.
TEST(DefaultReference, LeavesRoomBeyondTheWorst) {
  const std::vector<Objective> objectives = {{"accuracy", true}, {"cost", false}};
  struct Case {
    std::vector<Trial> trials;
    Losses reference;
    double volume;
  };
  const Case cases[] = {// Ranges of 0.5 and 8.
                        {{completed(0, 1, 1.0, 10), completed(1, 2, 0.5, 2)}, {-0.45, 10.8}, 0.55 * 0.8 + 0.05 * 8},
                        {{completed(0, 1, 0.5, 10)}, {-0.45, 11}, 0.05 * 1},
                        {{completed(0, 1, 0.5, 10), completed(1, 2, 0.5, 20)}, {-0.45, 21}, 0.05 * 11},
                        {{completed(0, 1, 0.0, 10)}, {0.1, 11}, 0.1 * 1}};
  for (const Case& row : cases) {
    const Losses reference = default_reference(row.trials, objectives);
    ASSERT_EQ(reference.size(), 2u);
    std::vector<Losses> points;
    for (const Trial& trial : row.trials) points.push_back(losses_of(trial, objectives));
    for (size_t i = 0; i < 2; ++i) EXPECT_NEAR(reference[i], row.reference[i], 1e-12);  // a few roundings of doubles
    EXPECT_NEAR(hypervolume(points, reference), row.volume, 1e-12);
  }
  EXPECT_EQ(default_reference({}, objectives), (Losses{-HUGE_VAL, -HUGE_VAL}));
}

TEST(HypervolumeHistory, GrowsInTheOrderOfFinishing) {
  const std::vector<Trial> trials = {completed(0, 40, 0.9, 4),   // last
                                     completed(1, 10, 0.5, 2),   // first
                                     completed(2, 20, 0.4, 3),   // beaten
                                     completed(3, 30, 0.5, 2)};  // nothing new
  const std::vector<Objective> objectives = {{"accuracy", true}, {"cost", false}};
  EXPECT_EQ(worst_losses(trials, objectives), (Losses{-0.4, 4}));
  EXPECT_EQ(worst_losses({}, objectives), (Losses{-HUGE_VAL, -HUGE_VAL}));
  const auto steps = hypervolume_history(trials, objectives, {0.0, 5.0});
  ASSERT_EQ(steps.size(), 2u);
  EXPECT_EQ(steps[0].trials, 1);
  EXPECT_EQ(steps[0].number, 1);
  EXPECT_DOUBLE_EQ(steps[0].hypervolume, 0.5 * 3);
  EXPECT_EQ(steps[1].trials, 4);
  EXPECT_EQ(steps[1].number, 0);
  EXPECT_DOUBLE_EQ(steps[1].hypervolume, 0.5 * 3 + 0.4 * 1);
}

TEST(HypervolumeHistory, EndsAtTheHypervolumeOfAll) {
  RandomStream random({.seed = 4});
  std::vector<Trial> trials;
  std::vector<Losses> points;
  const std::vector<Objective> objectives = {{"accuracy", true}, {"cost", false}};
  for (int i = 0; i < 200; ++i) {
    trials.push_back(completed(i, random.below(1000), random.uniform_double(), random.uniform_double()));
    points.push_back(losses_of(trials.back(), objectives));
  }
  const auto steps = hypervolume_history(trials, objectives, {0.0, 1.0});
  EXPECT_NEAR(steps.back().hypervolume, hypervolume(points, {0.0, 1.0}), 1e-12);
  for (size_t i = 1; i < steps.size(); ++i) EXPECT_GT(steps[i].hypervolume, steps[i - 1].hypervolume);
}

}  // namespace
}  // namespace nibble::search
