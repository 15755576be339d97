// What a person sees of one search must not depend on the one before it, as in a search by blocks.
#include "nibble/cli/search_progress.h"

#include <gtest/gtest.h>

#include <sstream>

namespace nibble::cli {
namespace {

constexpr const char* kRunConfig = R"({"model": "mnist", "data": "mnist", "max_trials": 2, "epochs": 1})";

search::Trial finished(int number, double accuracy, double cost) {
  search::Trial trial;
  trial.number = number;
  trial.state = search::TrialState::kCompleted;
  trial.score = accuracy;
  trial.metrics = {{"accuracy", accuracy}, {"cost", cost}, {"energy_nj", cost}};
  return trial;
}

std::string line_of_one_trial(SearchProgress& progress, std::ostringstream& out, const search::Trial& trial) {
  progress.on_start(kRunConfig, {}, 2, 1, 1000);
  out.str("");
  progress.on_trial_finish(trial, &trial);
  return out.str();
}

TEST(SearchProgress, ASearchKnowsNothingOfTheOneBefore) {
  std::ostringstream out;
  SearchProgress progress(out, /*is_terminal=*/false);
  EXPECT_NE(line_of_one_trial(progress, out, finished(0, 0.9, 10)).find("[1/2]"), std::string::npos);
  // Worse in both than the trial of the search before.
  const std::string line = line_of_one_trial(progress, out, finished(0, 0.8, 20));
  EXPECT_NE(line.find("[1/2]"), std::string::npos) << line;
  EXPECT_NE(line.find("*front*"), std::string::npos) << line;
}

TEST(SearchProgress, OnTheFrontIsWhatNoTrialBeforeIsBetterThan) {
  std::ostringstream out;
  SearchProgress progress(out, /*is_terminal=*/false);
  line_of_one_trial(progress, out, finished(0, 0.9, 10));
  struct Row {
    double accuracy, cost;
    bool is_in_front;
  };
  int number = 0;
  for (const Row& row : {Row{0.8, 20, false}, Row{0.8, 5, true}, Row{0.95, 30, true}, Row{0.95, 30, false}}) {
    out.str("");
    progress.on_trial_finish(finished(++number, row.accuracy, row.cost), nullptr);
    EXPECT_EQ(out.str().find("*front*") != std::string::npos, row.is_in_front) << out.str();
  }
}

}  // namespace
}  // namespace nibble::cli
