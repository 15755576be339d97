// --tensorboard of training and search, and the dashboard of a search, with the real program.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "nibble/core/atomic_file.h"
#include "search_workplace.h"
#include "support/busy_machine.h"
#include "support/event_reader.h"

namespace nibble::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// run -> tag -> (step, value) in the order written
using Runs = std::map<std::string, std::map<std::string, std::vector<std::pair<int, double>>>>;

Runs runs_in(const std::filesystem::path& directory) {
  Runs runs;
  for (const json& event : read_events(NIBBLE_SOURCE_DIR "/tests/read_events.py", directory)) {
    for (const auto& [tag, value] : event.at("scalars").items()) {
      runs[event.at("run")][tag].emplace_back(event.at("step"), value);
    }
  }
  return runs;
}

std::vector<int> steps_of(const std::vector<std::pair<int, double>>& points) {
  std::vector<int> steps;
  for (const auto& [step, value] : points) steps.push_back(step);
  return steps;
}

class Tensorboard : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::system("python3 -c '' 2>/dev/null") != 0) GTEST_SKIP() << "python3 was not found";
  }
  SearchWorkplace& workplace_ = SearchWorkplace::get();
};

TEST_F(Tensorboard, ATrainingHasKerasRunsAndGoesOnWhenResumed) {
  const std::string out = (workplace_.dir() / "trained").string(), events = (workplace_.dir() / "events").string();
  const auto train = [&](const std::string& epochs, bool resume) {
    std::vector<std::string> arguments = {"train", "mnist",    "--data", "mnist",         "--batch-size",
                                          "50",    "--epochs", epochs,   "--json",        "--lr",
                                          "0.01",  "--output", out,      "--tensorboard", events};
    if (resume) arguments.emplace_back("--resume");
    ChildProcess process = workplace_.start(arguments);
    EXPECT_EQ(process.wait(), 0) << process.err();
    return json::parse(process.out());
  };
  train("1", false);
  const json result = train("3", true);
  Runs runs = runs_in(events);
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(steps_of(runs["train"]["epoch_loss"]), (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(steps_of(runs["validation"]["epoch_accuracy"]), (std::vector<int>{1, 2, 3}));
  EXPECT_NEAR(runs["train"]["epoch_loss"].back().second, result.at("loss").get<double>(), 1e-6);
  EXPECT_NEAR(runs["validation"]["epoch_accuracy"].back().second, result.at("val_accuracy").get<double>(), 1e-6);
  EXPECT_NEAR(runs["train"]["epoch_learning_rate"].back().second, 0.01, 1e-8);
}

TEST_F(Tensorboard, ASearchHasARunATrialAndOneOfTheStudy) {
  const std::string out = (workplace_.dir() / "searched").string(), events = (workplace_.dir() / "trials").string();
  ChildProcess search = workplace_.start({"autoq", workplace_.run_config({{"max_trials", 2}, {"epochs", 2}}).string(),
                                          "--workers", "1", "--output", out, "--tensorboard", events});
  ASSERT_EQ(search.wait(), 0) << search.err();
  // The first trial is the best so far, and none beats it.
  EXPECT_NE(search.err().find("*best*  *front*"), std::string::npos) << search.err();
  ChildProcess listing = workplace_.start({"study", "trials", out, "--json"});
  ASSERT_EQ(listing.wait(), 0);
  Runs runs = runs_in(events);
  ASSERT_EQ(runs.size(), 3u);
  double best = -HUGE_VAL;
  const json listed = json::parse(listing.out());
  for (const json& trial : listed.at("trials")) {
    const int number = trial.at("number");
    auto& epochs = runs["trial_000" + std::to_string(number)];
    EXPECT_EQ(steps_of(epochs["val_accuracy"]), (std::vector<int>{1, 2}));
    EXPECT_EQ(steps_of(epochs["score"]), (std::vector<int>{1, 2}));
    const double score = trial.at("score");
    best = std::max(best, score);
    const auto& scores = runs["study"]["score"];
    ASSERT_GT(scores.size(), static_cast<size_t>(number));
    EXPECT_EQ(scores[static_cast<size_t>(number)].first, number);
    EXPECT_NEAR(scores[static_cast<size_t>(number)].second, score, 1e-6);
    EXPECT_NEAR(runs["study"]["energy_nj"][static_cast<size_t>(number)].second, trial.at("energy_nj").get<double>(),
                1e-3);
  }
  EXPECT_NEAR(runs["study"]["best_score"].back().second, best, 1e-6);
}

// One search of two blocks for all tests of them.
struct ByBlocks {
  std::string out, events;
  json result;
};
const ByBlocks& by_blocks() {
  static const ByBlocks search = [] {
    const SearchWorkplace& workplace = SearchWorkplace::get();
    ByBlocks made{.out = (workplace.dir() / "blocks").string(),
                  .events = (workplace.dir() / "blocks_events").string(),
                  .result = {}};
    const json changes = {
        {"blocks", {"^conv2d_0$", "^dense$"}}, {"max_trials", 2}, {"epochs", 1}, {"tune_filters", "none"}};
    ChildProcess process = workplace.start({"autoq", workplace.run_config(changes).string(), "--workers", "2",
                                            "--output", made.out, "--tensorboard", made.events, "--json"});
    EXPECT_EQ(process.wait(), 0) << process.err();
    made.result = json::parse(process.out(), nullptr, false);
    return made;
  }();
  return search;
}

// Said before a study is made that the corrected command would find there.
TEST_F(Tensorboard, ADirectoryThatCannotBeIsRefusedAtOnce) {
  const fs::path file = workplace_.dir() / "events.txt", out = workplace_.dir() / "unwatched";
  write_file(file, "");
  const std::string events = (file / "below").string();
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"autoq", workplace_.run_config({}).string()}, {"train", "mnist", "--data", "mnist", "--epochs", "1"}}) {
    std::vector<std::string> arguments = words;
    for (const std::string& word : {std::string("--output"), out.string(), std::string("--tensorboard"), events}) {
      arguments.push_back(word);
    }
    ChildProcess refused = workplace_.start(arguments);
    EXPECT_EQ(refused.wait(), 1) << words[0];
    EXPECT_NE(refused.err().find("events.txt' is a file"), std::string::npos) << refused.err();
    EXPECT_TRUE(!fs::exists(out) || fs::is_empty(out)) << words[0];
  }
}

TEST_F(Tensorboard, EachBlockOfASearchHasAFolder) {
  Runs runs = runs_in(by_blocks().events);
  for (const std::string block : {"0", "1"}) {
    // Fewer than were planned where there are no more choices.
    ChildProcess listing = workplace_.start({"study", "trials", by_blocks().out + "/" + block, "--json"});
    ASSERT_EQ(listing.wait(), 0) << listing.err();
    const size_t trials = json::parse(listing.out()).at("trials").size();
    const std::string folder = "block_" + block;
    EXPECT_GT(trials, 0u);
    EXPECT_EQ(runs[folder + "/study"]["score"].size(), trials) << folder;
    for (size_t i = 0; i < trials; ++i) {
      const std::string run = fmt::format("{}/trial_{:04}", folder, i);
      EXPECT_EQ(steps_of(runs[run]["score"]), std::vector<int>{1}) << run;
    }
    EXPECT_FALSE(runs.contains(fmt::format("{}/trial_{:04}", folder, trials)));
  }
  EXPECT_FALSE(runs.contains("study"));
}

TEST(SearchByBlocks, IsShownBlockByBlockAndOtherCommandsNameTheBlocks) {
  const SearchWorkplace& workplace = SearchWorkplace::get();
  const std::string& out = by_blocks().out;
  ChildProcess show = workplace.start({"study", "show", out, "--json"});
  ASSERT_EQ(show.wait(), 0) << show.err();
  const json shown = json::parse(show.out());
  EXPECT_EQ(shown.at("planned_blocks"), 2);
  ASSERT_EQ(shown.at("blocks").size(), 2u);
  EXPECT_EQ(shown.at("blocks")[0].at("layers"), json::array({"^conv2d_0$"}));
  EXPECT_EQ(shown.at("blocks")[1].at("layers"), json::array({"^dense$"}));
  EXPECT_EQ(shown.at("blocks")[1].at("best").at("score"), by_blocks().result.at("best").at("score"));
  ChildProcess table = workplace.start({"study", "show", out});
  EXPECT_EQ(table.wait(), 0) << table.err();
  for (const char* word : {"2 of 2 begun", "^conv2d_0$", "^dense$", "energy"}) {
    EXPECT_NE(table.out().find(word), std::string::npos) << table.out();
  }
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"study", "trials", out}, {"report", out}, {"dashboard", out, "--port", "0"}, {"worker", "--study", out}}) {
    ChildProcess refused = workplace.start(words);
    EXPECT_NE(refused.wait(), 0) << words[0];
    EXPECT_NE(refused.err().find(fmt::format("give one of {}/0, {}/1", out, out)), std::string::npos) << refused.err();
  }
}

TEST(SearchByBlocks, IsListedAndEachBlockKeepsWhatWasSaidOfItsData) {
  const SearchWorkplace& workplace = SearchWorkplace::get();
  const std::string& out = by_blocks().out;
  ChildProcess list = workplace.start({"study", "list", workplace.dir().string(), "--json"});
  ASSERT_EQ(list.wait(), 0) << list.err();
  const json studies = json::parse(list.out()).at("studies");
  for (const std::string block : {"0", "1"}) {
    const std::string folder = out + "/" + block;
    const auto is_listed = [&](const json& study) { return study.at("file") == folder + "/study.db"; };
    EXPECT_EQ(std::count_if(studies.begin(), studies.end(), is_listed), 1) << studies;
    for (const char* file : {"notices.txt", "report.html"}) {
      EXPECT_NE(read_file(fs::path(folder) / file).find("200 test samples of the published 10000"), std::string::npos)
          << folder << "/" << file;
    }
  }
}

TEST(SearchByBlocks, SaysAtItsEndThatNoTrialKeptTheCeiling) {
  const SearchWorkplace& workplace = SearchWorkplace::get();
  const std::string out = (workplace.dir() / "blocks_ceiling").string();
  const json changes = {{"blocks", json::array({"^dense$"})},
                        {"max_trials", 2},
                        {"epochs", 1},
                        {"tune_filters", "none"},
                        {"metrics", json::array({"loss"})},
                        {"budget", {{"error", 1e-9}}}};
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"autoq", workplace.run_config(changes).string(), "--workers", "2", "--output", out},
           {"autoq", "--resume", "--output", out}}) {
    ChildProcess search = workplace.start(words);
    EXPECT_EQ(search.wait(), 0) << search.err();
    EXPECT_NE(search.err().find("note: no trial kept the budget's error of 1e-09 (loss); the nearest, trial "),
              std::string::npos)
        << search.err();
  }
}

TEST(SearchByBlocks, ThatIsOverStillTellsItsBest) {
  ChildProcess again = SearchWorkplace::get().start({"autoq", "--resume", "--output", by_blocks().out, "--json"});
  ASSERT_EQ(again.wait(), 0) << again.err();
  EXPECT_EQ(json::parse(again.out()), by_blocks().result);
}

// Reports of its blocks name a network in the old place.
TEST(SearchByBlocks, MayBeMoved) {
  const SearchWorkplace& workplace = SearchWorkplace::get();
  const fs::path out = by_blocks().out, moved = workplace.dir() / "blocks_moved";
  fs::rename(out, moved);
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"report", (moved / "1").string()}, {"autoq", "--resume", "--output", moved.string()}}) {
    ChildProcess process = workplace.start(words);
    EXPECT_EQ(process.wait(), 0) << process.err();
  }
  fs::rename(moved, out);
}

// The JSON that the dashboard, which has been started just now, answers for each path.
std::vector<json> answers_of(ChildProcess& dashboard, const std::vector<std::string>& paths) {
  EXPECT_TRUE(eventually([&] { return !dashboard.is_running() || dashboard.out().find('\n') != std::string::npos; }));
  const std::string url = dashboard.out();
  std::vector<json> answers(paths.size());
  EXPECT_TRUE(url.starts_with("http://127.0.0.1:")) << dashboard.err();
  if (::testing::Test::HasFailure()) return answers;
  httplib::Client client("127.0.0.1", std::stoi(url.substr(url.rfind(':') + 1)));
  client.set_read_timeout(kPatience);
  for (size_t i = 0; i < paths.size(); ++i) {
    const auto answer = client.Get(paths[i]);
    EXPECT_TRUE(answer) << paths[i];
    if (answer) answers[i] = json::parse(answer->body);
  }
  return answers;
}

TEST(NibbleDashboard, ServesAStudyWithTheLayersOfItsTrialsUntilItIsStopped) {
  SearchWorkplace& workplace = SearchWorkplace::get();
  const std::string out = (workplace.dir() / "shown").string();
  ChildProcess search = workplace.start(
      {"autoq", workplace.run_config({{"max_trials", 1}, {"epochs", 1}}).string(), "--workers", "1", "--output", out});
  ASSERT_EQ(search.wait(), 0) << search.err();
  ChildProcess dashboard = workplace.start({"dashboard", out, "--port", "0"});
  const std::vector<json> answers = answers_of(dashboard, {"/api/study", "/api/trials/0"});
  ASSERT_FALSE(HasFailure());
  EXPECT_EQ(answers[0].at("facts").at("references")[0].at("name"), "int8");
  const json& details = answers[1];
  EXPECT_EQ(details.at("layers_trouble"), "");
  double sum_nj = 0;
  for (const json& layer : details.at("layers")) sum_nj += layer.value("energy_nj", 0.0);
  EXPECT_NEAR(sum_nj, details.at("metrics").at("energy_nj").get<double>(), 0.01);  // the sum is cut to picojoules
  ChildProcess removal = workplace.start({"study", "delete", out, "--yes"});
  ASSERT_EQ(removal.wait(), 0) << removal.err();
  EXPECT_TRUE(eventually([&] { return dashboard.err().find("the study is gone: '") != std::string::npos; }))
      << dashboard.err();
  dashboard.signal(SIGTERM);
  EXPECT_EQ(dashboard.wait(), 0);
  EXPECT_EQ(dashboard.err().find("stopping"), std::string::npos) << "there is no step to finish: " << dashboard.err();
}

// Labels as numbers, 1 at the label and 0 elsewhere: trials have accuracies, but are not judged by them.
TEST(NibbleDashboard, ASearchByAnErrorSaysSoEverywhere) {
  SearchWorkplace& workplace = SearchWorkplace::get();
  const std::string out = (workplace.dir() / "by_error").string();
  ChildProcess search =
      workplace.start({"autoq", workplace.run_config({{"max_trials", 2}, {"epochs", 1}, {"loss", "mse"}}).string(),
                       "--workers", "1", "--output", out, "--json"});
  ASSERT_EQ(search.wait(), 0) << search.err();
  const json judged = {{"name", "mse"}, {"direction", "minimise"}};
  EXPECT_EQ(json::parse(search.out()).at("metric"), judged);
  EXPECT_NE(search.err().find("  mse 0."), std::string::npos) << search.err();
  EXPECT_EQ(search.err().find("  acc "), std::string::npos) << search.err();

  // The report's payload.
  const std::string page = read_file(std::filesystem::path(out) / "report.html");
  const std::string start = R"(<script type="application/json" id="nibble-data">)";
  const size_t begin = page.find(start) + start.size();
  const json report = json::parse(page.substr(begin, page.find("</script", begin) - begin));
  EXPECT_EQ(report.at("metric"), judged);
  ChildProcess listing = workplace.start({"study", "trials", out, "--json"});
  ASSERT_EQ(listing.wait(), 0) << listing.err();
  const json listed = json::parse(listing.out());
  ASSERT_EQ(report.at("trials").size(), 2u);
  for (size_t k = 0; k < 2; ++k) {
    EXPECT_EQ(report.at("trials")[k].at("mse"), listed.at("trials")[k].at("mse"));
    EXPECT_FALSE(report.at("trials")[k].contains("accuracy"));
  }

  ChildProcess dashboard = workplace.start({"dashboard", out, "--port", "0"});
  const std::vector<json> answers = answers_of(dashboard, {"/api/study"});
  ASSERT_FALSE(HasFailure());
  EXPECT_EQ(answers[0].at("facts").at("metric"), judged);
  dashboard.signal(SIGTERM);
  EXPECT_EQ(dashboard.wait(), 0);
}

TEST(NibbleDashboard, AnAbsentStudyIsSaid) {
  ChildProcess absent = SearchWorkplace::get().start({"dashboard", "/absent/study.db"});
  EXPECT_EQ(absent.wait(), 1);
  EXPECT_NE(absent.err().find("no study at '/absent/study.db'"), std::string::npos) << absent.err();
}

}  // namespace
}  // namespace nibble::testing
