// Single trials, trained here without a study: what they report, leave behind, and go on with after an end at any
// moment.
#include "nibble/autoq/training_runner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "nibble/autoq/search_space.h"
#include "nibble/autoq/small_search.h"
#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/search/random_sampler.h"
#include "nibble/search/storage.h"
#include "nibble/search/worker.h"
#include "support/golden.h"

namespace nibble::autoq {
namespace {
namespace fs = std::filesystem;

// One attempt at trial 0 without a study: what it leaves behind.
struct Attempt {
  explicit Attempt(const std::string& name, const std::string& more = "")
      : config(parse_run_config(searched_config(more))), directory(testing::scratch_dir(name)) {
    const graph::Model model = load_search_model(config);
    claim.number = 0;
    claim.attempt = 1;
    claim.values = *search::RandomSampler(7).propose(build_space(model, config), {});
    runner.emplace(config, model, load_search_data(config));
  }
  search::TrialResult run(const std::function<bool(const search::Step&)>& report,
                          const std::function<bool()>& renew = {}) {
    return runner->run({.claim = claim, .directory = directory, .stop = stop, .report = report, .renew = renew});
  }
  RunConfig config;
  fs::path directory;
  std::atomic<bool> stop = false;
  search::Storage::Claim claim;
  std::optional<TrainingRunner> runner;
};

TEST(TrainingRunner, WritesNothingMoreOnceItsLeaseIsLost) {
  Attempt attempt("autoq_lease");
  EXPECT_THROW(attempt.run([](const search::Step&) { return false; }), search::LeaseLost);
  EXPECT_TRUE(fs::is_empty(attempt.directory));
  // Lost in epoch 2: what epoch 1 left stays as it was.
  std::map<std::string, std::string> files;
  EXPECT_THROW(attempt.run([&](const search::Step& step) {
    if (step.step == 1) return true;
    for (const char* name : {"model.keras", "checkpoint"}) files[name] = read_file(attempt.directory / name);
    return false;
  }),
               search::LeaseLost);
  ASSERT_EQ(files.size(), 2u);
  for (const auto& [name, bytes] : files) EXPECT_TRUE(read_file(attempt.directory / name) == bytes) << name;
}

TEST(TrainingRunner, KeepsItsCheckpointUntilTheStudyHasTheResult) {
  Attempt attempt("autoq_checkpoint");
  const search::TrialResult result = attempt.run([](const search::Step&) { return true; });
  EXPECT_EQ(result.temporary, std::vector<std::string>{"checkpoint"});
  EXPECT_TRUE(fs::exists(attempt.directory / "checkpoint"));
}

TEST(TrainingRunner, AFileSystemThatRefusesIsNotTheTrialsFault) {
  Attempt attempt("autoq_refused");
  make_directories(attempt.directory / "checkpoint" / "in_the_way");  // cannot be removed as a file
  EXPECT_THROW(attempt.run([](const search::Step&) { return true; }), IoError);
}

TEST(LoadSearchModel, TakesAFolderOfATraining) {
  const fs::path root = testing::scratch_dir("autoq_folder");
  make_directories(root / "trained");
  fs::copy_file(small_model_file(), root / "trained/model.keras");
  RunConfig config;
  config.model = (root / "trained").string();
  EXPECT_EQ(load_search_model(config).layers.size(), 7u);
  fs::remove(root / "trained/model.keras");
  try {
    load_search_model(config);
    ADD_FAILURE() << "no error";
  } catch (const IoError& error) {
    EXPECT_NE(std::string(error.what()).find("trained' is a folder without a model.keras"), std::string::npos)
        << error.what();
  }
}

// A trial's steps by epoch, and what it came to.
struct Reported {
  std::map<int, search::Metrics> steps;
  search::TrialResult result;
};
Reported reported(Attempt& attempt) {
  Reported reported;
  reported.result = attempt.run([&](const search::Step& step) {
    reported.steps[step.step] = step.metrics;
    return true;
  });
  return reported;
}

std::vector<int> epochs_of(const Reported& reported) {
  std::vector<int> epochs;
  for (const auto& [epoch, metrics] : reported.steps) epochs.push_back(epoch);
  return epochs;
}

struct Frequency {
  const char* keys;
  std::vector<int> epochs;  // of 3
};
class ValidatedEpochs : public ::testing::TestWithParam<Frequency> {};
TEST_P(ValidatedEpochs, AloneJudgeATrial) {
  Attempt every("autoq_every_epoch"), some("autoq_some_epochs", GetParam().keys);
  const Reported all = reported(every), sparse = reported(some);
  ASSERT_EQ(epochs_of(all), (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(epochs_of(sparse), GetParam().epochs);
  double best = -HUGE_VAL;
  int best_epoch = 0;
  for (const int epoch : GetParam().epochs) {
    for (const char* name : {"score", "loss", "val_loss", "val_accuracy"}) {
      EXPECT_EQ(sparse.steps.at(epoch).at(name), all.steps.at(epoch).at(name)) << name << " of epoch " << epoch;
    }
    if (all.steps.at(epoch).at("score") <= best) continue;
    best = all.steps.at(epoch).at("score");
    best_epoch = epoch;
  }
  EXPECT_EQ(sparse.result.score, best);
  EXPECT_EQ(sparse.result.metrics.at("epochs"), 3);
  EXPECT_EQ(sparse.steps.at(best_epoch).at("val_accuracy"), sparse.result.metrics.at("accuracy"));
  EXPECT_EQ(sparse.steps.at(best_epoch).at("val_loss"), sparse.result.metrics.at("loss"));
}
INSTANTIATE_TEST_SUITE_P(
    Keys, ValidatedEpochs,
    ::testing::Values(Frequency{R"(, "validation_freq": 1)", {1, 2, 3}}, Frequency{R"(, "validation_freq": 2)", {2, 3}},
                      Frequency{R"(, "validation_freq": 3)", {3}}, Frequency{R"(, "validation_freq": 9)", {3}},
                      Frequency{R"(, "validation_freq": 3, "pruner": "successive_halving")", {1, 3}}));

// Ended at the report of epoch 3, whose epochs 1 and 2 have left a checkpoint alone.
TEST(ValidationFreq, AnInterruptedTrialGoesOnToTheSameResult) {
  constexpr const char* kThree = R"(, "validation_freq": 3)";
  Attempt whole("autoq_sparse_whole", kThree), ended("autoq_sparse_ended", kThree);
  const Reported expected = reported(whole);
  EXPECT_THROW(ended.run([](const search::Step&) { return false; }), search::LeaseLost);
  EXPECT_TRUE(fs::exists(ended.directory / "checkpoint"));
  const Reported again = reported(ended);
  EXPECT_EQ(epochs_of(again), std::vector<int>{3});
  EXPECT_EQ(again.result.score, expected.result.score);
  EXPECT_EQ(again.result.metrics, expected.result.metrics);
  EXPECT_TRUE(read_file(ended.directory / "model.keras") == read_file(whole.directory / "model.keras"));
}

// Nothing is reported there, but its checkpoint is another worker's by then.
TEST(ValidationFreq, AnEpochWithoutValidationRenewsTheLease) {
  Attempt attempt("autoq_sparse_lease", R"(, "validation_freq": 2)");
  int reports = 0, renewals = 0;
  const auto report = [&](const search::Step&) {
    ++reports;
    return true;
  };
  EXPECT_THROW(attempt.run(report, [] { return false; }), search::LeaseLost);
  EXPECT_EQ(reports, 0);
  EXPECT_TRUE(fs::is_empty(attempt.directory));
  attempt.run(report, [&] { return ++renewals > 0; });
  EXPECT_EQ(renewals, 1);
  EXPECT_EQ(reports, 2);
}

constexpr const char* kThreeExecutions = R"(, "executions_per_trial": 3)";

// An undisturbed trial of three executions with 3 epochs each, and what it reported.
struct ThreeExecutions {
  search::TrialResult result;
  std::vector<search::Step> steps;
  std::string model;
};
const ThreeExecutions& three_executions() {
  static const ThreeExecutions whole = [] {
    ThreeExecutions run;
    Attempt attempt("autoq_executions", kThreeExecutions);
    run.result = attempt.run([&](const search::Step& step) {
      run.steps.push_back(step);
      return true;
    });
    run.model = read_file(attempt.directory / run.result.artifact);
    const int best = static_cast<int>(run.result.metrics.at("best_execution"));
    EXPECT_TRUE(run.model == read_file(attempt.directory / fmt::format("execution_{}.keras", best)));
    for (const std::string& name : run.result.temporary) EXPECT_TRUE(fs::exists(attempt.directory / name)) << name;
    EXPECT_EQ(run.result.temporary.size(), 6u);
    return run;
  }();
  return whole;
}

TEST(Executions, TheFirstIsTheTrialWithoutThemAndTheOthersDiffer) {
  std::vector<search::Step> alone;
  Attempt attempt("autoq_alone");
  attempt.run([&](const search::Step& step) {
    alone.push_back(step);
    return true;
  });
  const std::vector<search::Step>& steps = three_executions().steps;
  ASSERT_EQ(steps.size(), 9u);
  for (size_t i = 0; i < 9; ++i) EXPECT_EQ(steps[i].step, static_cast<int>(i) + 1);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(steps[i].metrics.at("loss"), alone[i].metrics.at("loss"));
    EXPECT_NE(steps[i + 3].metrics.at("loss"), alone[i].metrics.at("loss"));
    EXPECT_NE(steps[i + 6].metrics.at("loss"), steps[i + 3].metrics.at("loss"));
  }
}

TEST(Executions, ScoreAndAccuracyAreMeansAndTheBestOneIsNamed) {
  const auto& [result, steps, model] = three_executions();
  double score = 0, accuracy = 0, best_score = -HUGE_VAL;
  int best_step = 0;
  for (size_t k = 0; k < 3; ++k) {
    const auto best = std::max_element(
        steps.begin() + static_cast<std::ptrdiff_t>(3 * k), steps.begin() + static_cast<std::ptrdiff_t>(3 * k + 3),
        [](const auto& a, const auto& b) { return a.metrics.at("score") < b.metrics.at("score"); });
    score += best->metrics.at("score") / 3;
    accuracy += best->metrics.at("val_accuracy") / 3;
    if (best->metrics.at("score") <= best_score) continue;
    best_score = best->metrics.at("score");
    best_step = best->step;
  }
  EXPECT_NEAR(result.score, score, 1e-12);  // sums in another order
  EXPECT_NEAR(result.metrics.at("accuracy"), accuracy, 1e-12);
  EXPECT_EQ(result.metrics.at("best_epoch"), best_step);
  EXPECT_EQ(result.metrics.at("best_execution"), (best_step - 1) / 3 + 1);
  EXPECT_EQ(result.metrics.at("executions"), 3);
  EXPECT_EQ(result.metrics.at("epochs"), 9);
  EXPECT_GT(result.metrics.at("score_deviation"), 0);
}

// Ended when this step is reported, as by kill -9 just before: in an execution, or between two of them.
class InterruptedExecutions : public ::testing::TestWithParam<int> {};
TEST_P(InterruptedExecutions, AreGoneOnWithToTheSameResult) {
  Attempt attempt(fmt::format("autoq_interrupted_{}", GetParam()), kThreeExecutions);
  EXPECT_THROW(attempt.run([](const search::Step& step) { return step.step != GetParam(); }), search::LeaseLost);
  std::vector<int> again;
  const search::TrialResult result = attempt.run([&](const search::Step& step) {
    again.push_back(step.step);
    return true;
  });
  EXPECT_EQ(again.front(), GetParam());
  EXPECT_EQ(again.size(), static_cast<size_t>(10 - GetParam()));
  EXPECT_EQ(result.score, three_executions().result.score);
  EXPECT_EQ(result.metrics, three_executions().result.metrics);
  EXPECT_TRUE(read_file(attempt.directory / result.artifact) == three_executions().model);
}
INSTANTIATE_TEST_SUITE_P(Steps, InterruptedExecutions, ::testing::Values(1, 3, 4, 5, 9));

}  // namespace
}  // namespace nibble::autoq

int main(int argc, char** argv) { return nibble::autoq::run_as_worker_or_tests(argc, argv); }
