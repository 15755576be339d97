#include "nibble/autoq/score.h"

#include "nibble/autoq/score_callback.h"
#include "nibble/autoq/training_config.h"
#include "nibble/autoq/training_runner.h"
#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/train/loss_names.h"
#include "support/golden.h"

#include <gtest/gtest.h>

namespace nibble::autoq {
namespace {

struct Row {
  const char* json;
  double value, cost, delta;
  double score;
};
// The reference costs 100.
const Row kRows[] = {
    {"{}", 0.9, 50, 0.08, 0.972},
    {"{}", 0.9, 200, -0.08, 0.828},
    {R"({"score_metric": "val_accuracy"})", 0.9, 50, 0.08, 0.9},
    {R"({"score_metric": "val_loss"})", 0.3, 50, 0.08, -0.3},
    {R"({"loss": "mse"})", 0.3, 50, 0.5, -0.2},
    {R"({"loss": "mse"})", 0.3, 200, -0.5, -0.6},
    {R"({"loss": "mse"})", 0.3, 1e9, -3, -30},  // no sign turns
    {R"({"loss": "huber"})", 0.3, 50, 0.5, -0.2},
    {R"({"loss": "poisson"})", -0.3, 50, 0.5, 0.45},
    {R"({"loss": "mse", "score_metric": "mse"})", 0.3, 50, 0.5, -0.3},
    {R"({"budget": {"accuracy": 0.8}})", 0.6, 50, 0.5, -0.25},
    {R"({"budget": {"accuracy": 0.8}})", 0.8, 25, 0.5, 0.8},
    {R"({"budget": {"accuracy": 0.8}})", 0.99, 25, 0.5, 0.8},  // the cost alone counts
    {R"({"budget": {"accuracy": 0.8}})", 0.9, 300, -0.5, 0.25},
    {R"({"budget": {"accuracy": 0.8, "weight_kib": 4}})", 0.9, 50, 0.08, 0.972},
    {R"({"budget": {"accuracy": 0.8, "weight_kib": 4}})", 0.4, 50, 0.08, -0.5},
    {R"({"budget": {"accuracy": 0.8, "weight_kib": 4}})", 0.9, 1e9, -3, 0},
    {R"({"loss": "mse", "budget": {"error": 0.5}})", 0.5, 25, 0.5, 0.8},  // at the ceiling is inside
    {R"({"loss": "mse", "budget": {"error": 0.5}})", 0.1, 25, 0.5, 0.8},  // the cost alone counts
    {R"({"loss": "mse", "budget": {"error": 0.5}})", 0.1, 300, -0.5, 0.25},
    {R"({"loss": "mse", "budget": {"error": 0.5}})", 2, 25, 0.5, -0.75},
    {R"({"metrics": ["loss"], "budget": {"error": 0.5}})", 1, 25, 0.5, -0.5},
    {R"({"loss": "mse", "budget": {"error": 0.5, "weight_kib": 4}})", 0.3, 50, 0.5, 0.5 / 0.7},
    {R"({"loss": "mse", "budget": {"error": 0.5, "weight_kib": 4}})", 0.5, 1e9, -3, 0.5 / 50.5},  // above 0 still
    {R"({"loss": "mse", "budget": {"error": 0.5, "weight_kib": 4}})", 1, 50, 0.5, -0.5},
    {R"({"loss": "poisson", "budget": {"error": 0.5, "weight_kib": 4}})", -0.3, 50, 0.5, 1 + 0.45 / 0.95},
};

TEST(Score, FollowsTheTable) {
  for (const Row& row : kRows) {
    const TrialCost cost{.cost = row.cost, .delta = row.delta};
    EXPECT_NEAR(score_of(parse_run_config(row.json), row.value, cost, 100), row.score, 1e-12) << row.json;
  }
}

// Two trainings about a floor: their mean keeps it, so the trial is above every one that misses it.
TEST(Score, OfSeveralTrainingsIsThatOfTheirMeanWhereThereIsAFloor) {
  const TrialCost cost{.cost = 2, .delta = 0.5};
  const auto score = [&](const char* json, double a, double b) {
    const RunConfig config = parse_run_config(json);
    std::vector<ExecutionScore> executions(2);
    for (const auto& [at, value] : {std::pair(0, a), std::pair(1, b)}) {
      executions[static_cast<size_t>(at)].value = value;
      executions[static_cast<size_t>(at)].score = score_of(config, value, cost, 100);
    }
    return trial_score(config, executions, cost, 100);
  };
  EXPECT_NEAR(score(R"({"budget": {"accuracy": 0.985}})", 0.9845, 0.99), 100.0 / 102, 1e-12);
  EXPECT_NEAR(score(R"({"budget": {"accuracy": 0.985}})", 0.9845, 0.985), 0.98475 / 0.985 - 1, 1e-12);
  EXPECT_NEAR(score("{}", 0.8, 0.9), 0.85 * 1.5, 1e-12);
  EXPECT_NEAR(score(R"({"loss": "mse", "budget": {"error": 0.5}})", 0.25, 0.625), 100.0 / 102, 1e-12);
}

// What a trial of one epoch reports and comes to.
struct Judged {
  search::Metrics step, trial;
};
Judged judge(const char* json, const train::EpochLog& log) {
  using namespace graph::build;
  const RunConfig config = parse_run_config(json);
  const search::Storage::Claim claim;
  const std::atomic<bool> stop = false;
  Judged judged;
  const search::TrialContext context{.claim = claim,
                                     .directory = testing::scratch_dir("score_judge"),
                                     .stop = stop,
                                     .report = [&](const search::Step& step) {
                                       judged.step = step.metrics;
                                       return true;
                                     }};
  const Execution execution = execution_of(config, 0);
  ScoreCallback callback(context, execution, config, {.cost = 50, .delta = 0}, 100);
  const Node in = Input({.shape = {2}, .name = "input"});
  train::Trainer trainer(build_model({in}, {Dense({.units = 1, .name = "last"})(in)}, "small"), {});
  callback.on_epoch_end(log, trainer);
  ScoreCallback resumed(context, execution, config, {.cost = 50, .delta = 0}, 100);
  resumed.restore(callback.state());
  judged.trial = metrics_of(config, std::vector{resumed.result()});
  return judged;
}

TEST(Score, AnAccuracyAndTheLossAreKeptWhereThereAre) {
  train::EpochLog log;
  log.epoch = 1;
  log.accuracy = 0.25;
  log.val_loss = 3;
  log.val_accuracy = 0.5;
  const Judged classes = judge("{}", log);
  EXPECT_EQ(classes.step.at("accuracy"), 0.25);
  EXPECT_EQ(classes.step.at("val_accuracy"), 0.5);
  EXPECT_EQ(classes.trial.at("accuracy"), 0.5);
  EXPECT_EQ(classes.trial.at("loss"), 3);
  EXPECT_EQ(judge(R"({"metrics": ["loss"]})", log).trial, classes.trial);
  log.has_accuracy = false;
  log.val_mse = 4;
  log.mse = 5;
  const Judged numbers = judge(R"({"loss": "mse"})", log);
  EXPECT_FALSE(numbers.step.contains("accuracy") || numbers.step.contains("val_accuracy"));
  EXPECT_EQ(numbers.step.at("mse"), 5);
  EXPECT_EQ(numbers.step.at("val_mse"), 4);
  EXPECT_FALSE(numbers.trial.contains("accuracy"));
  EXPECT_EQ(numbers.trial.at("mse"), 4);
  EXPECT_EQ(numbers.trial.at("loss"), 3);
}

TEST(Score, ALossIsTheMeanOfAllTrainingsOrNone) {
  std::vector<ExecutionScore> executions(2);
  executions[0].loss = 1;
  EXPECT_FALSE(metrics_of(parse_run_config("{}"), executions).contains("loss"));
  executions[1].loss = 4;
  EXPECT_EQ(metrics_of(parse_run_config("{}"), executions).at("loss"), 2.5);
}

TEST(EpochsLookedAt, AreThoseThatAPrunerOrARoundNeeds) {
  const std::pair<const char*, std::set<int>> rows[] = {
      {R"({"epochs": 20, "validation_freq": 5})", {}},
      {R"({"epochs": 20, "validation_freq": 5, "pruner": "successive_halving"})", {1, 3, 9}},
      {R"({"epochs": 9, "validation_freq": 5, "pruner": "successive_halving"})", {1, 3}},
      {R"({"epochs": 20, "validation_freq": 7, "pruner": {"min_epochs": 2, "factor": 4}})", {2, 8}},
      {R"({"mode": "hyperband", "max_epochs": 9, "validation_freq": 2})", {1, 3, 9}},
      {R"({"mode": "hyperband", "max_epochs": 10, "factor": 2, "validation_freq": 4})", {2, 3, 5, 10}},
      // All are, without being named.
      {R"({"epochs": 20, "pruner": "successive_halving"})", {}},
      {R"({"mode": "hyperband", "max_epochs": 9})", {}}};
  for (const auto& [json, epochs] : rows) EXPECT_EQ(epochs_looked_at(parse_run_config(json)), epochs) << json;
}

// The loss of the training must not stand in for what was not measured.
TEST(Score, NothingButTheValidationIsJudged) {
  train::EpochLog log;
  log.epoch = 1;
  log.loss = 2;
  for (const char* json : {"{}", R"({"metrics": ["loss"]})", R"({"loss": "mse"})", R"({"loss": "mae"})"}) {
    try {
      judge(json, log);
      ADD_FAILURE() << json;
    } catch (const InvalidArgument& error) {
      EXPECT_NE(std::string(error.what()).find("test samples"), std::string::npos) << error.what();
    }
  }
}

TEST(IsOfClasses, IsTheLossesWordWithoutGuessing) {
  const std::pair<const char*, bool> rows[] = {{"{}", true},
                                               {R"({"loss": "bce"})", true},
                                               {R"({"loss": "binary_crossentropy", "target": "input"})", false},
                                               {R"({"loss": "kl_divergence"})", false},
                                               {R"({"loss": "mse"})", false}};
  for (const auto& [json, is_one] : rows) EXPECT_EQ(is_of_classes(parse_run_config(json)), is_one) << json;
}

TEST(LossKind, EveryNameOfARunConfigIsOneOfTheTrainers) {
  for (const std::string& name : loss_names()) {
    const RunConfig config = parse_run_config(R"({"loss": ")" + name + R"("})");
    EXPECT_EQ(loss_kind(config), train::loss_named(name)) << name;
  }
  EXPECT_EQ(loss_names().size(), train::loss_names().size());
}

TEST(Score, IsToldAsAFormula) {
  const std::pair<const char*, const char*> rows[] = {
      {"{}", "validation accuracy * (1 + delta)"},
      {R"({"score_metric": "val_loss"})", "-validation loss"},
      {R"({"loss": "mae"})", "-validation mae / (1 + delta)"},
      {R"({"budget": {"accuracy": 0.8}})",
       "reference / (reference + cost) from an accuracy of 0.8 on, accuracy / 0.8 - 1 below"},
      {R"({"budget": {"accuracy": 0.8, "ram_kib": 4}})",
       "validation accuracy * (1 + delta) from an accuracy of 0.8 on, accuracy / 0.8 - 1 below"},
      {R"({"loss": "mse", "budget": {"error": 0.5}})",
       "reference / (reference + cost) up to the mse 0.5, 0.5 / mse - 1 above"},
      {R"({"loss": "mse", "budget": {"error": 0.5, "ram_kib": 4}})",
       "0.5 / (0.5 + validation mse / (1 + delta)) up to the mse 0.5, 0.5 / mse - 1 above"}};
  for (const auto& [json, formula] : rows) EXPECT_EQ(score_formula(parse_run_config(json)), formula);
}

}  // namespace
}  // namespace nibble::autoq
