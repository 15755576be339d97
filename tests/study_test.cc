// `nibble study` on a study that was made by hand: no training.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "child_process.h"
#include "nibble/core/atomic_file.h"
#include "nibble/search/random_sampler.h"
#include "nibble/search/storage.h"
#include "support/golden.h"

namespace nibble::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Four completed trials; (0.9, 10) and (0.8, 5) are the front.
fs::path make_study(const std::string& name) {
  const fs::path folder = scratch_dir(name);
  const search::SearchSpace space = {{"a", {"x", "quantized_bits(4,0,1)", "y", "z"}}, {"b", {"0", "1", "2", "3"}}};
  search::Storage storage = search::Storage::create(
      (folder / "study.db").string(), {.name = "by hand", .run_config = "{}", .seed = 1, .max_trials = 4});
  const double rows[][2] = {{0.9, 10}, {0.8, 5}, {0.7, 6}, {0.9, 20}};
  for (const auto& [accuracy, cost] : rows) {
    const auto claim = storage.claim("hand", space, search::RandomSampler(1));
    EXPECT_TRUE(storage.complete(*claim, accuracy, {{"accuracy", accuracy}, {"cost", cost}}, ""));
  }
  return folder;
}

struct Outcome {
  int code = 0;
  std::string out, err;
};
Outcome run_nibble(const std::vector<std::string>& arguments) {
  ChildProcess process(NIBBLE_BINARY, arguments);
  const int code = process.wait();
  return {code, process.out(), process.err()};
}

Outcome study(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "study");
  return run_nibble(arguments);
}

TEST(StudyPareto, GivesTheFrontAndItsHypervolume) {
  const std::string folder = make_study("study_pareto").string();
  const Outcome run = study({"pareto", folder, "--json"});
  ASSERT_EQ(run.code, 0) << run.err;
  const json result = json::parse(run.out);
  EXPECT_EQ(result.at("metric"), json::parse(R"({"name": "accuracy", "direction": "maximise"})"));
  ASSERT_EQ(result.at("front").size(), 2u);
  EXPECT_EQ(result.at("front")[0].at("number"), 0);
  EXPECT_EQ(result.at("front")[1].at("number"), 1);
  // The worst is (0.7, 20), a tenth of the ranges 0.02 and 1.5. Against (0.68, 21.5): 0.22 * 11.5, and the strip of
  // 0.12 from 5 to 10 that only the second has.
  EXPECT_NEAR(result.at("hypervolume").get<double>(), 3.13, 1e-12);
  EXPECT_NEAR(result.at("history").back().at("hypervolume").get<double>(), 3.13, 1e-12);
  const Outcome shown = study({"pareto", folder});
  EXPECT_NE(shown.out.find("hypervolume 3.13 against accuracy 0.68, cost 21.5 (the worst"), std::string::npos)
      << shown.out;
  const Outcome table =
      study({"pareto", folder, "--maximise", "accuracy", "--minimise", "cost", "--reference", "0.8", "10"});
  ASSERT_EQ(table.code, 0) << table.err;
  EXPECT_NE(table.out.find("hypervolume 0 against accuracy 0.8, cost 10\n"), std::string::npos) << table.out;
}

TEST(StudyPareto, RefusesWhatSpansNothing) {
  const std::string folder = make_study("study_pareto_refused").string();
  struct Case {
    std::vector<std::string> words;
    int code;
    const char* sentence;
  };
  const Case cases[] = {
      {{"--reference", "nan", "10"}, 2, "'nan' must be a number that is finite"},
      {{"--reference", "0.5", "inf"}, 2, "'inf' must be a number that is finite"},
      {{"--reference", "0.5"}, 2, "--reference has 1 values, but there are 2 metrics"},
      {{"--reference", "0.5", "10", "3"}, 2, "--reference has 3 values, but there are 2 metrics"},
      {{"--maximise", "accuracy", "--reference", "0.5", "10"}, 2, "--reference has 2 values, but there are 1 metrics"},
      {{"--maximise", "cost", "--minimise", "cost"}, 2, "the metric 'cost' is named twice"},
      {{"--minimise", "costs"}, 1, "has the metric 'costs'"}};
  for (const Case& row : cases) {
    std::vector<std::string> words = {"pareto", folder};
    words.insert(words.end(), row.words.begin(), row.words.end());
    const Outcome run = study(words);
    EXPECT_EQ(run.code, row.code) << row.sentence;
    EXPECT_NE(run.err.find(row.sentence), std::string::npos) << run.err;
  }
}

// What another version wrote as its configuration, or nothing, is a study by accuracy.
TEST(StudyPareto, AStudyThatDoesNotSayItsMetricIsByAccuracy) {
  const fs::path folder = scratch_dir("study_older");
  search::Storage storage = search::Storage::create(
      (folder / "study.db").string(), {.name = "older", .run_config = R"({"judged": 1})", .seed = 1, .max_trials = 1});
  const auto claim = storage.claim("hand", {{"a", {"x"}}}, search::RandomSampler(1));
  ASSERT_TRUE(storage.complete(*claim, 0.9, {{"accuracy", 0.9}, {"mse", 0.1}, {"cost", 3}}, ""));
  const Outcome run = study({"pareto", folder.string(), "--json"});
  ASSERT_EQ(run.code, 0) << run.err;
  const json result = json::parse(run.out);
  EXPECT_EQ(result.at("metric"), json::parse(R"({"name": "accuracy", "direction": "maximise"})"));
  EXPECT_EQ(result.at("front")[0].at("accuracy"), 0.9);
}

struct ErrorCase {
  const char *name, *run_config, *metric;
};
void PrintTo(const ErrorCase& row, std::ostream* out) { *out << row.name; }

// A search that is judged by an error, which is to be low, whose trials have accuracies too.
class StudyOfAnError : public ::testing::TestWithParam<ErrorCase> {
 protected:
  // (0.1, 10) and (0.2, 5) are the front; by accuracy it would be (0.2, 5) and (0.3, 6).
  void SetUp() override {
    folder_ = scratch_dir(std::string("study_error_") + GetParam().name);
    const search::SearchSpace space = {{"a", {"x", "y", "z", "u"}}, {"b", {"0", "1", "2", "3"}}};
    search::Storage storage =
        search::Storage::create((folder_ / "study.db").string(),
                                {.name = "by hand", .run_config = GetParam().run_config, .seed = 1, .max_trials = 4});
    const double rows[][2] = {{0.1, 10}, {0.2, 5}, {0.3, 6}, {0.1, 20}};
    for (const auto& [error, cost] : rows) {
      const auto claim = storage.claim("hand", space, search::RandomSampler(1));
      const search::Metrics metrics = {
          {metric(), error}, {"accuracy", 3 * error}, {"cost", cost}, {"energy_nj", cost / 1000}};
      EXPECT_TRUE(storage.complete(*claim, -error, metrics, ""));
    }
  }
  static std::string metric() { return GetParam().metric; }
  static json described() { return {{"name", metric()}, {"direction", "minimise"}}; }

  json asked(const std::string& words) const {
    const Outcome run = study({words, folder_.string(), "--json"});
    EXPECT_EQ(run.code, 0) << run.err;
    return json::parse(run.out);
  }

  fs::path folder_;
};

TEST_P(StudyOfAnError, HasItsFrontWhereErrorAndCostAreLow) {
  const json result = asked("pareto");
  EXPECT_EQ(result.at("metric"), described());
  ASSERT_EQ(result.at("front").size(), 2u);
  EXPECT_EQ(result.at("front")[0].at("number"), 0);
  EXPECT_EQ(result.at("front")[0].at(metric()), 0.1);
  EXPECT_EQ(result.at("front")[1].at("number"), 1);
  EXPECT_NEAR(result.at("reference")[0].get<double>(), 0.32, 1e-12);  // 0.3 and a tenth of 0.2
  EXPECT_EQ(result.at("reference")[1], 21.5);
  // Against these: 0.22 * 11.5, and the strip of 0.12 from 5 to 10 that only the second has.
  EXPECT_NEAR(result.at("hypervolume").get<double>(), 3.13, 1e-12);
  const Outcome table = study({"pareto", folder_.string()});
  EXPECT_NE(table.out.find(metric()), std::string::npos) << table.out;
  EXPECT_EQ(table.out.find("accuracy"), std::string::npos) << table.out;
}

TEST_P(StudyOfAnError, IsShownByItsOwnMetric) {
  for (const char* words : {"trials", "show", "best"}) {
    const Outcome run = study({words, folder_.string()});
    EXPECT_NE(run.out.find(metric()), std::string::npos) << run.out;
    EXPECT_EQ(run.out.find("accuracy"), std::string::npos) << run.out;
  }
  EXPECT_NE(study({"show", folder_.string()}).out.find("best: trial 0, score -0.1, " + metric() + " 0.1, energy"),
            std::string::npos);
}

TEST_P(StudyOfAnError, NamesItInJson) {
  const json trials = asked("trials"), shown = asked("show"), best = asked("best");
  for (const json& document : {trials, shown, best}) EXPECT_EQ(document.at("metric"), described()) << document;
  EXPECT_EQ(trials.at("trials")[1].at(metric()), 0.2);
  EXPECT_EQ(shown.at("best").at(metric()), 0.1);
  EXPECT_EQ(best.at(metric()), 0.1);
  for (const json& trial : {trials.at("trials")[1], shown.at("best"), best}) EXPECT_FALSE(trial.contains("accuracy"));
  const Outcome saved = study({"export", folder_.string(), "--format", "json"});
  EXPECT_EQ(json::parse(saved.out).at("metric"), described());
  const Outcome listed = study({"list", folder_.string(), "--json"});
  EXPECT_EQ(json::parse(listed.out).at("studies")[0].at("metric"), described());
}

INSTANTIATE_TEST_SUITE_P(Rows, StudyOfAnError,
                         ::testing::Values(ErrorCase{"SquaredError", R"({"loss": "mean_squared_error"})", "mse"},
                                           ErrorCase{"AbsoluteErrorAlone",
                                                     R"({"loss": "mae", "score_metric": "val_mae"})", "mae"},
                                           ErrorCase{"LossOfClasses", R"({"score_metric": "val_loss"})", "loss"}),
                         [](const auto& row) { return row.param.name; });

// A --resume with a smaller --max-trials.
TEST(StudyShow, OfMoreTrialsThanAreAskedForByNowSaysSo) {
  const fs::path folder = make_study("study_fewer");
  EXPECT_NE(study({"show", folder.string()}).out.find(": 4 of 4 trials completed, 0 failed"), std::string::npos);
  search::Storage::open((folder / "study.db").string()).set_max_trials(3);
  const Outcome run = study({"show", folder.string()});
  EXPECT_NE(run.out.find(": 4 of 4 trials completed (max_trials is 3 by now), 0 failed"), std::string::npos) << run.out;
}

// Studies lie right in the place, in a folder of it, and in the blocks of a search there; folders of numbers that are
// no search are no deeper looked into.
TEST(StudyList, FindsTheBlocksOfASearchInAFolder) {
  const fs::path place = scratch_dir("study_list");
  for (const char* folder : {"plain", "blocks/0", "blocks/1", "rest/1", "rest/10", "rest/2", "numbers/0"}) {
    make_directories(place / folder);
    search::Storage::create((place / folder / "study.db").string(),
                            {.name = folder, .run_config = "{}", .seed = 1, .max_trials = 1});
  }
  write_file(place / "blocks/run_config.json", "{}");
  write_file(place / "rest/run_config.json", "{}");  // block 0 was removed
  const Outcome run = study({"list", place.string(), "--json"});
  ASSERT_EQ(run.code, 0) << run.err;
  std::vector<std::string> names;
  const json listed = json::parse(run.out);
  for (const json& found : listed.at("studies")) names.push_back(found.at("name"));
  EXPECT_EQ(names, (std::vector<std::string>{"blocks/0", "blocks/1", "plain", "rest/1", "rest/10", "rest/2"}));
}

TEST(StudyPareto, AnUnknownMetricIsNamed) {
  const Outcome run = study({"pareto", make_study("study_metric").string(), "--maximise", "acuracy"});
  EXPECT_NE(run.code, 0);
  EXPECT_NE(run.err.find("'accuracy'"), std::string::npos) << run.err;
}

TEST(StudyExport, WritesEveryTrialAsCsvAndJson) {
  const fs::path folder = make_study("study_export");
  const Outcome csv = study({"export", folder.string()});
  ASSERT_EQ(csv.code, 0) << csv.err;
  EXPECT_TRUE(csv.out.starts_with("number,state,score,attempts,reason,artifact,accuracy,cost,a,b\r\n")) << csv.out;
  EXPECT_EQ(std::count(csv.out.begin(), csv.out.end(), '\n'), 5);
  const fs::path file = folder / "all.json";
  ASSERT_EQ(study({"export", folder.string(), "--format", "json", "--output", file.string()}).code, 0);
  EXPECT_EQ(json::parse(read_file(file)).at("trials").size(), 4u);
  EXPECT_EQ(study({"export", folder.string(), "--json"}).out, read_file(file));
  EXPECT_EQ(study({"export", folder.string(), "--format", "xml"}).code, 2);
  const Outcome itself = study({"export", folder.string(), "--output", (folder / "study.db").string()});
  EXPECT_EQ(itself.code, 2);
  EXPECT_NE(itself.err.find("is the study itself"), std::string::npos) << itself.err;
  EXPECT_EQ(study({"show", folder.string()}).code, 0);
}

// A pattern that stands twice is one block.
TEST(StudyShow, CountsTheBlocksThatWillBe) {
  const fs::path folder = scratch_dir("study_blocks");
  fs::create_directories(folder / "0");
  write_file(folder / "run_config.json", R"({"blocks": ["^a$", "^b$", "^a$"]})");
  search::Storage::create((folder / "0" / "study.db").string(),
                          {.name = "by hand", .run_config = "{}", .seed = 1, .max_trials = 1});
  const Outcome run = study({"show", folder.string(), "--json"});
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(json::parse(run.out).at("planned_blocks"), 2);
}

// The first was deleted; names that are no block's number are passed over.
TEST(StudyShow, BlocksThatAreLeftKeepTheirNumbers) {
  const fs::path folder = scratch_dir("study_blocks_left");
  for (const char* name : {"10", "2", "007", "1st", "2024"}) {
    fs::create_directories(folder / name);
    search::Storage::create((folder / name / "study.db").string(),
                            {.name = name, .run_config = "{}", .seed = 1, .max_trials = 1});
  }
  write_file(folder / "run_config.json", "{}");
  const Outcome run = study({"show", folder.string(), "--json"});
  ASSERT_EQ(run.code, 0) << run.err;
  const json blocks = json::parse(run.out).at("blocks");
  ASSERT_EQ(blocks.size(), 2u) << run.out;
  EXPECT_EQ(blocks[0].at("block"), 2);
  EXPECT_EQ(blocks[0].at("study"), (folder / "2").string());
  EXPECT_EQ(blocks[1].at("block"), 10);
  const std::string text = study({"show", folder.string()}).out;
  EXPECT_NE(text.find("11 begun, each a study of its own\n9 of them have no study here any more\n"), std::string::npos)
      << text;
}

TEST(StudyDelete, IsRefusedWhileAWorkerElsewhereHoldsATrial) {
  const fs::path folder = scratch_dir("study_held");
  const search::SearchSpace space = {{"a", {"x", "y"}}};
  search::Storage storage = search::Storage::create(
      (folder / "study.db").string(), {.name = "by hand", .run_config = "{}", .seed = 1, .max_trials = 2});
  const auto claim = storage.claim("another.host/1/2", space, search::RandomSampler(1));
  const Outcome refused = study({"delete", folder.string(), "--yes"});
  EXPECT_EQ(refused.code, 1);
  EXPECT_NE(refused.err.find("workers are at 1 trial of"), std::string::npos) << refused.err;
  ASSERT_TRUE(storage.release(*claim));
  EXPECT_EQ(study({"delete", folder.string(), "--yes"}).code, 0);
}

TEST(StudyUrl, OfAnotherDatabaseIsRefusedByName) {
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"show", "mysql://ann:secret@h/nets"}, {"list", "mysql://ann:secret@h"}}) {
    const Outcome run = study(words);
    EXPECT_NE(run.code, 0) << words[0];
    EXPECT_NE(run.err.find("begins with 'mysql://'"), std::string::npos) << run.err;
    EXPECT_EQ(run.err.find("secret"), std::string::npos) << run.err;
  }
  const Outcome search = run_nibble({"autoq", "run.json", "--study", "mysql://ann:secret@h/nets"});
  EXPECT_NE(search.err.find("--study 'mysql://ann@h/nets' is no postgresql://"), std::string::npos) << search.err;
}

// A search by bits for an autoencoder has neither energies nor accuracies.
TEST(StudyTrials, ShowWhatTheSearchMeasures) {
  const fs::path folder = scratch_dir("study_columns");
  search::Storage storage = search::Storage::create(
      (folder / "study.db").string(), {.name = "by hand", .run_config = "{}", .seed = 1, .max_trials = 1});
  const auto claim = storage.claim("hand", {{"a", {"x"}}}, search::RandomSampler(1));
  ASSERT_TRUE(storage.complete(*claim, -0.5, {{"mse", 0.0123}, {"bits", 51200}}, ""));
  for (const char* words : {"trials", "show", "best"}) {
    const Outcome run = study({words, folder.string()});
    EXPECT_NE(run.out.find("mse"), std::string::npos) << run.out;
    EXPECT_NE(run.out.find("0.0123"), std::string::npos) << run.out;
    EXPECT_NE(run.out.find("51200"), std::string::npos) << run.out;
  }
}

TEST(StudyDelete, AsksFirstAndLeavesOtherFilesAlone) {
  const fs::path folder = make_study("study_delete");
  write_file(folder / "notes.txt", "mine");
  EXPECT_EQ(study({"delete", folder.string()}).code, 2);
  EXPECT_TRUE(fs::exists(folder / "study.db"));
  const Outcome run = study({"delete", folder.string(), "--yes"});
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_FALSE(fs::exists(folder / "study.db"));
  EXPECT_TRUE(fs::exists(folder / "notes.txt"));
  EXPECT_NE(study({"show", folder.string()}).code, 0);
}

// All of its studies, and what the search left beside them; what a person put there stays.
TEST(StudyDelete, RemovesASearchByBlocksAsAWhole) {
  const fs::path folder = scratch_dir("study_delete_blocks");
  write_file(folder / "run_config.json", R"({"blocks": ["^a$", "^b$"]})");
  for (const char* name : {"0", "1"}) {
    make_directories(folder / name / "trials" / "0");
    search::Storage::create((folder / name / "study.db").string(),
                            {.name = name, .run_config = "{}", .seed = 1, .max_trials = 1});
  }
  for (const char* name : {"scheduler.json", "model_block_0.keras", "1/mine.txt", "notes.txt"}) {
    write_file(folder / name, "");
  }
  const Outcome asked = study({"delete", folder.string()});
  EXPECT_EQ(asked.code, 2);
  EXPECT_NE(asked.err.find("with the trials of 2 studies"), std::string::npos) << asked.err;
  {
    search::Storage last = search::Storage::open((folder / "1" / "study.db").string());
    const auto claim = last.claim("another.host/1/2", {{"a", {"x", "y"}}}, search::RandomSampler(1));
    const Outcome refused = study({"delete", folder.string(), "--yes"});
    EXPECT_NE(refused.err.find("workers are at 1 trial of"), std::string::npos) << refused.err;
    EXPECT_TRUE(fs::exists(folder / "0" / "study.db")) << "nothing is deleted where the last block cannot be";
    ASSERT_TRUE(last.release(*claim));
  }
  ASSERT_EQ(study({"delete", (folder / "0").string(), "--yes"}).code, 0);
  const Outcome run = study({"delete", folder.string(), "--yes"});
  ASSERT_EQ(run.code, 0) << run.err;
  std::vector<std::string> left;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    left.push_back(entry.path().lexically_relative(folder).string());
  }
  std::sort(left.begin(), left.end());
  EXPECT_EQ(left, (std::vector<std::string>{"0", "0/study.lock", "1", "1/mine.txt", "1/study.lock", "notes.txt"}));
}

// A floor that no trial reached: the best one is told with that, wherever it is shown.
TEST(StudyOfABudget, SaysThatNoTrialKeptIt) {
  const fs::path folder = scratch_dir("study_floor");
  search::Storage storage = search::Storage::create(
      (folder / "study.db").string(),
      {.name = "by hand", .run_config = R"({"budget": {"accuracy": 0.99}})", .seed = 1, .max_trials = 2});
  struct Row {
    double accuracy;
    bool keeps;
  };
  for (const Row& row : {Row{0.75, false}, Row{0.995, true}}) {
    const auto claim = storage.claim("hand", {{"a", {"x", "y"}}}, search::RandomSampler(1));
    ASSERT_TRUE(storage.complete(*claim, row.accuracy, {{"accuracy", row.accuracy}, {"energy_nj", 0.0187}}, ""));
    EXPECT_EQ(json::parse(study({"show", folder.string(), "--json"}).out).at("best").at("keeps_budget"), row.keeps);
    EXPECT_EQ(json::parse(study({"best", folder.string(), "--json"}).out).at("keeps_budget"), row.keeps);
    for (const char* words : {"show", "best"}) {
      const std::string text = study({words, folder.string()}).out;
      EXPECT_EQ(text.find("no trial reached the budget's accuracy of 0.99") == std::string::npos, row.keeps) << text;
      EXPECT_NE(text.find("energy 0.0187 nJ"), std::string::npos) << text;
    }
  }
}

// The space had fewer combinations than max_trials, or all trials failed.
TEST(StudyThatIsOver, DoesNotSoundUnfinished) {
  const fs::path folder = scratch_dir("study_over");
  search::Storage storage = search::Storage::create(
      (folder / "study.db").string(), {.name = "by hand", .run_config = "{}", .seed = 1, .max_trials = 9});
  const search::SearchSpace space = {{"a", {"x"}}};
  const auto claim = storage.claim("hand", space, search::RandomSampler(1));
  ASSERT_TRUE(storage.fail(*claim, "it broke"));
  ASSERT_FALSE(storage.claim("hand", space, search::RandomSampler(1)).has_value());
  ASSERT_TRUE(storage.is_over());
  EXPECT_NE(study({"show", folder.string()}).out.find("0 of 1 trials completed; over, since no new combination"),
            std::string::npos);
  for (const char* words : {"best", "pareto"}) {
    const std::string text = study({words, folder.string()}).err;
    EXPECT_NE(text.find("is over, and no trial of it was completed"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace nibble::testing
