// Whole searches by strategies beside plain sampling: hyperband, a pruner, weights of the nearest trial, a teacher, and
// of other networks: autoencoders, heads. Real training in worker processes, on a small network and small data. The
// program is its own worker: `strategies_test worker --study DIR/study.db`.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "nibble/autoq/auto_qkeras.h"
#include "nibble/autoq/search_space.h"
#include "nibble/autoq/small_search.h"
#include "nibble/autoq/training_runner.h"
#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/builder.h"
#include "nibble/search/annotation.h"
#include "nibble/search/storage.h"
#include "support/golden.h"

namespace nibble::autoq {
namespace {
namespace fs = std::filesystem;
using search::annotated_number;

double metric(const search::Trial& trial, const char* name) { return trial.metrics.at(name); }

std::string hyperband_text() {
  return small_config(R"("mode": "hyperband", "max_epochs": 4, "factor": 2, "schedule": "cosine")");
}

// 15 trials in 6 rounds, the later ones from checkpoints.
TEST(Hyperband, TrialsDoNotDependOnTheNumberOfWorkers) {
  const fs::path root = testing::scratch_dir("strategies_hyperband");
  const SearchResult one = run_search(hyperband_text(), {.directory = root / "one", .workers = 1});
  const SearchResult three = run_search(hyperband_text(), {.directory = root / "three", .workers = 3});
  ASSERT_TRUE(one.is_over && three.is_over);
  ASSERT_EQ(one.trials.size(), 15u);
  EXPECT_EQ(outcome_of(one, root / "one"), outcome_of(three, root / "three"));
  int promoted = 0;
  for (const search::Trial& trial : one.trials) {
    ASSERT_EQ(trial.state, search::TrialState::kCompleted) << trial.reason;
    EXPECT_EQ(metric(trial, "epochs"), *annotated_number(trial.values, search::kEpochs));
    EXPECT_FALSE(fs::exists(root / "one" / search::trial_directory(trial.number) / "checkpoint"));
    const auto from = annotated_number(trial.values, search::kResumes);
    const auto steps = search::Storage::open(root / "one/study.db").steps(trial.number);
    EXPECT_EQ(steps.front().step, from ? metric(one.trials[static_cast<size_t>(*from)], "epochs") + 1 : 1);
    promoted += from.has_value();
  }
  EXPECT_EQ(promoted, 5);
}

// What another machine without the checkpoint would do. Each of several executions has a checkpoint of its own.
class HyperbandExecutions : public ::testing::TestWithParam<int> {};
TEST_P(HyperbandExecutions, WithoutTheCheckpointATrialStartsAnewToTheSameBytes) {
  const fs::path directory = testing::scratch_dir(fmt::format("strategies_anew_{}", GetParam()));
  const std::string text =
      replaced(hyperband_text(), "\"mode\"", fmt::format(R"("executions_per_trial": {}, "mode")", GetParam()));
  const SearchResult whole = run_search(text, {.directory = directory / "out", .workers = 2});
  const search::Trial& last = whole.trials.back();
  const RunConfig config = parse_run_config(text);
  TrainingRunner runner(config, load_search_model(config), load_search_data(config));
  const std::atomic<bool> stop = false;
  const search::Storage::Claim claim{.number = last.number, .attempt = 1, .values = last.values, .steps = {}};
  make_directories(directory / "alone");
  const search::TrialResult result =
      runner.run({.claim = claim, .directory = directory / "alone", .stop = stop, .report = [](const search::Step&) {
                    return true;
                  }});
  EXPECT_EQ(result.score, *last.score);
  EXPECT_TRUE(read_file(directory / "alone/model.keras") == read_file(directory / "out" / last.artifact));
  for (const search::Trial& trial : whole.trials) {
    const fs::path files = directory / "out" / search::trial_directory(trial.number);
    EXPECT_EQ(std::distance(fs::directory_iterator(files), fs::directory_iterator()), 1) << "beside model.keras";
    const auto steps = search::Storage::open(directory / "out/study.db").steps(trial.number);
    const auto from = annotated_number(trial.values, search::kResumes);
    const int done = from ? *annotated_number(whole.trials[static_cast<size_t>(*from)].values, search::kEpochs) : 0;
    const int asked = *annotated_number(trial.values, search::kEpochs);
    EXPECT_EQ(static_cast<int>(steps.size()), GetParam() * (asked - done));
  }
}
INSTANTIATE_TEST_SUITE_P(OneAndTwo, HyperbandExecutions, ::testing::Values(1, 2));

// Epochs 1 and 2 end rounds of it, which a trial that goes on has been judged after.
TEST(Hyperband, AnewIsTheSameAlsoWhereFewEpochsAreValidated) {
  const fs::path directory = testing::scratch_dir("strategies_sparse");
  const std::string text = replaced(hyperband_text(), "\"mode\"", R"("validation_freq": 5, "mode")");
  const SearchResult whole = run_search(text, {.directory = directory / "out", .workers = 2});
  const auto last = std::find_if(whole.trials.rbegin(), whole.trials.rend(), [](const search::Trial& trial) {
    return annotated_number(trial.values, search::kResumes).has_value() &&
           *annotated_number(trial.values, search::kEpochs) == 4;
  });
  ASSERT_NE(last, whole.trials.rend());
  const RunConfig config = parse_run_config(text);
  TrainingRunner runner(config, load_search_model(config), load_search_data(config));
  const std::atomic<bool> stop = false;
  const search::Storage::Claim claim{.number = last->number, .attempt = 1, .values = last->values, .steps = {}};
  make_directories(directory / "alone");
  std::vector<int> epochs;
  const auto report = [&](const search::Step& step) {
    epochs.push_back(step.step);
    return true;
  };
  const search::TrialResult result =
      runner.run({.claim = claim, .directory = directory / "alone", .stop = stop, .report = report});
  EXPECT_EQ(epochs, (std::vector<int>{1, 2, 4}));
  EXPECT_EQ(result.score, *last->score);
  EXPECT_TRUE(read_file(directory / "alone/model.keras") == read_file(directory / "out" / last->artifact));
}

class PrunerExecutions : public ::testing::TestWithParam<int> {};
TEST_P(PrunerExecutions, EndTrialsThatDoWorse) {
  const std::string text = small_config(fmt::format(
      R"("epochs": 4, "early_stopping": false, "max_trials": 8, "pruner": {{"min_epochs": 1, "factor": 2}},
         "executions_per_trial": {})",
      GetParam()));
  const fs::path directory = testing::scratch_dir(fmt::format("strategies_pruner_{}", GetParam())) / "out";
  const SearchResult result = run_search(text, {.directory = directory, .workers = 1});
  int pruned = 0;
  for (const search::Trial& trial : result.trials) {
    ASSERT_EQ(trial.state, search::TrialState::kCompleted) << trial.reason;
    if (metric(trial, "pruned") == 0) {
      EXPECT_EQ(metric(trial, "epochs"), 4 * GetParam());
      continue;
    }
    ++pruned;
    EXPECT_LT(metric(trial, "epochs"), 4) << "of the first execution, and there is no other";
    EXPECT_LE(*trial.score, *result.best->score);
  }
  EXPECT_GT(pruned, 0);
  EXPECT_EQ(metric(*result.best, "pruned"), 0);
}
INSTANTIATE_TEST_SUITE_P(OneAndTwo, PrunerExecutions, ::testing::Values(1, 2));

TEST(NearestWeights, AreThoseOfAnEarlierTrial) {
  const SearchResult result =
      run_search(small_config(R"("epochs": 1, "max_trials": 3, "transfer_weights": "nearest")"),
                 {.directory = testing::scratch_dir("strategies_nearest") / "out", .workers = 1});
  ASSERT_EQ(result.trials.size(), 3u);
  EXPECT_FALSE(result.trials[0].values.contains(search::kWeightsFrom));
  EXPECT_EQ(annotated_number(result.trials[1].values, search::kWeightsFrom), 0);
  for (const search::Trial& trial : result.trials)
    EXPECT_EQ(trial.state, search::TrialState::kCompleted) << trial.reason;
}

TEST(LearningRate, IsAChoiceOfTheTrial) {
  const fs::path directory = testing::scratch_dir("strategies_rate") / "out";
  const SearchResult result =
      run_search(small_config(R"("epochs": 1, "max_trials": 4, "learning_rate_optimizer": true)"),
                 {.directory = directory, .workers = 2});
  for (const search::Trial& trial : result.trials) {
    const auto steps = search::Storage::open(directory / "study.db").steps(trial.number);
    EXPECT_NEAR(steps.front().metrics.at("learning_rate"), *chosen_learning_rate(trial.values), 1e-9);
  }
}

// A folder as 'nibble train' writes it, beside the directory of the study.
TEST(Teacher, IsLearnedFromByEveryTrial) {
  const fs::path root = testing::scratch_dir("strategies_teacher");
  make_directories(root / "taught");
  fs::copy_file(small_model_file(), root / "taught/model.keras");
  const auto outcome = [&](const std::string& name, const std::string& more, int workers = 1) {
    const SearchResult result = run_search(small_config(R"("epochs": 1, "max_trials": 2)" + more),
                                           {.directory = root / name, .workers = workers});
    for (const search::Trial& trial : result.trials) {
      EXPECT_EQ(trial.state, search::TrialState::kCompleted) << trial.reason;
    }
    return outcome_of(result, root / name);
  };
  const std::string teacher = fmt::format(R"(, "teacher": "{}")", (root / "taught").string());
  const Outcome alone = outcome("alone", ""), taught = outcome("learned", teacher + R"(, "temperature": 4)");
  EXPECT_EQ(outcome("weightless", teacher + R"(, "teacher_weight": 0)"), alone);
  EXPECT_EQ(outcome("two", teacher + R"(, "temperature": 4)", 2), taught);
  EXPECT_NE(outcome("cold", teacher), taught);
  ASSERT_EQ(taught.models.size(), 2u);
  for (size_t i = 0; i < 2; ++i) EXPECT_TRUE(taught.models[i] != alone.models[i]) << i;
}

TEST(Augmentation, IsOfEveryTrialAndTheSameInAnyWorker) {
  const fs::path root = testing::scratch_dir("strategies_augmentation");
  const auto outcome = [&](const std::string& name, const std::string& more, int workers = 1) {
    const SearchResult result = run_search(small_config(R"("epochs": 1, "max_trials": 2)" + more),
                                           {.directory = root / name, .workers = workers});
    for (const search::Trial& trial : result.trials) {
      EXPECT_EQ(trial.state, search::TrialState::kCompleted) << trial.reason;
    }
    return outcome_of(result, root / name);
  };
  const std::string augment = R"(, "augment": "flip,shift=2")";
  const Outcome plain = outcome("plain", ""), augmented = outcome("augmented", augment);
  EXPECT_EQ(outcome("two", augment, 2), augmented);
  EXPECT_EQ(outcome("none", R"(, "augment": "none")"), plain);
  ASSERT_EQ(augmented.models.size(), 2u);
  for (size_t i = 0; i < 2; ++i) EXPECT_TRUE(augmented.models[i] != plain.models[i]) << i;
  // With a teacher, which sees each batch as the student does.
  const std::string teacher = fmt::format(R"(, "teacher": "{}")", small_model_file().string());
  EXPECT_NE(outcome("taught", teacher + augment), augmented);
  EXPECT_EQ(outcome("weightless", teacher + augment + R"(, "teacher_weight": 0)"), augmented);
}

// Found before anything is trained.
TEST(Teacher, OfOtherClassesIsRefused) {
  using namespace graph::build;
  const fs::path root = testing::scratch_dir("strategies_strange_teacher");
  const Node in = Input({.shape = {28, 28, 1}, .name = "input"});
  const Node last = Dense({.units = 5, .name = "last"})(Flatten({.name = "flatten"})(in));
  graph::Model five = build_model({in}, {Activation({.activation = "softmax", .name = "end"})(last)}, "five");
  write_file(root / "untrained.json", graph::to_config(five).dump());
  graph::initialize_weights(five, 1);
  formats::keras::save_model(five, root / "five.keras");
  for (const auto& [file, words] :
       {std::pair("five.keras", "knows 5 classes"), std::pair("untrained.json", "train the teacher first")}) {
    const std::string text = small_config(fmt::format(R"("teacher": "{}")", (root / file).string()));
    try {
      run_search(text, {.directory = root / "out"});
      ADD_FAILURE() << file;
    } catch (const InvalidArgument& error) {
      EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    }
    EXPECT_FALSE(fs::exists(root / "out"));
  }
}

TEST(Autoencoder, IsJudgedByItsError) {
  const fs::path file = testing::scratch_dir("strategies_autoencoder_model") / "model.keras";
  formats::keras::save_model(autoencoder(), file);
  std::string text = small_config(R"("epochs": 2, "max_trials": 3, "loss": "mse", "target": "input", "mode": "tpe")");
  text = replaced(text, small_model_file().string(), file.string());
  text = replaced(text, R"("Conv2D": [4, 8, 4], )", "");
  text = replaced(text, R"(, "BatchNormalization": [])", "");
  const SearchResult result =
      run_search(text, {.directory = testing::scratch_dir("strategies_autoencoder") / "out", .workers = 1});
  ASSERT_EQ(result.trials.size(), 3u);
  for (const search::Trial& trial : result.trials) {
    ASSERT_EQ(trial.state, search::TrialState::kCompleted) << trial.reason;
    EXPECT_FALSE(trial.metrics.contains("accuracy"));
    EXPECT_NEAR(*trial.score, -metric(trial, "mse") / (1 + metric(trial, "delta")), 1e-12);
    EXPECT_LE(*trial.score, *result.best->score);
  }
}

// Networks whose every trial would fail, found before there is a study.
TEST(Network, ThatTheDataDoNotFitIsRefused) {
  const fs::path root = testing::scratch_dir("strategies_no_fit");
  formats::keras::save_model(autoencoder(), root / "autoencoder.keras");
  formats::keras::save_model(two_heads(), root / "heads.keras");
  struct Row {
    const char *file, *words;
  };
  for (const Row& row : {Row{"autoencoder.keras", "a classifier gives one value per class"},
                         Row{"heads.keras", "has the outputs softmax, other, of which a search trains and scores one"},
                         Row{"heads.keras", "head_name"}}) {
    // What a guided start would measure is not measured.
    std::string text = small_config(R"("epochs": 1, "guided_start": true)");
    text = replaced(text, small_model_file().string(), (root / row.file).string());
    try {
      run_search(text, {.directory = root / "out"});
      ADD_FAILURE() << row.file << ": no error";
    } catch (const InvalidArgument& error) {
      EXPECT_NE(std::string(error.what()).find(row.words), std::string::npos) << error.what();
    }
    EXPECT_FALSE(fs::exists(root / "out"));
  }
}

// Two heads on one trunk: the other one's layers are neither trained nor counted.
TEST(Head, OneOutputOfSeveralIsSearched) {
  const fs::path file = testing::scratch_dir("strategies_heads_model") / "model.keras";
  formats::keras::save_model(two_heads(), file);
  std::string text = small_config(R"("epochs": 1, "max_trials": 2, "head_name": "softmax")");
  text = replaced(text, small_model_file().string(), file.string());
  const graph::Model model = load_search_model(parse_run_config(text));
  EXPECT_EQ(model.outputs, std::vector<std::string>{"softmax"});
  EXPECT_EQ(model.find_layer("other"), nullptr);
  const SearchResult result =
      run_search(text, {.directory = testing::scratch_dir("strategies_heads") / "out", .workers = 1});
  for (const search::Trial& trial : result.trials)
    EXPECT_EQ(trial.state, search::TrialState::kCompleted) << trial.reason;
  EXPECT_THROW(
      load_search_model(parse_run_config(replaced(text, "\"head_name\": \"softmax\"", "\"head_name\": \"dense\""))),
      InvalidArgument);
}

}  // namespace
}  // namespace nibble::autoq

int main(int argc, char** argv) { return nibble::autoq::run_as_worker_or_tests(argc, argv); }
