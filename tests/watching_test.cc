// --tensorboard of training and search, and the dashboard of a search, with the real program.
#include <gtest/gtest.h>
#include <httplib.h>
#include <signal.h>

#include <chrono>
#include <cmath>
#include <map>
#include <thread>

#include "nibble/core/atomic_file.h"
#include "search_workplace.h"
#include "support/event_reader.h"

namespace nibble::testing {
namespace {

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
  ASSERT_EQ(search.wait(600), 0) << search.err();
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

TEST(NibbleDashboard, ServesAStudyWithTheLayersOfItsTrialsUntilItIsStopped) {
  SearchWorkplace& workplace = SearchWorkplace::get();
  const std::string out = (workplace.dir() / "shown").string();
  ChildProcess search = workplace.start(
      {"autoq", workplace.run_config({{"max_trials", 1}, {"epochs", 1}}).string(), "--workers", "1", "--output", out});
  ASSERT_EQ(search.wait(600), 0) << search.err();
  ChildProcess dashboard = workplace.start({"dashboard", out, "--port", "0"});
  while (dashboard.is_running() && dashboard.out().find('\n') == std::string::npos) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  const std::string url = dashboard.out();
  ASSERT_TRUE(url.starts_with("http://127.0.0.1:")) << dashboard.err();
  httplib::Client client("127.0.0.1", std::stoi(url.substr(url.rfind(':') + 1)));
  const auto study = client.Get("/api/study");
  ASSERT_TRUE(study);
  EXPECT_EQ(json::parse(study->body).at("facts").at("references")[0].at("name"), "int8");
  const auto trial = client.Get("/api/trials/0");
  ASSERT_TRUE(trial);
  const json details = json::parse(trial->body);
  EXPECT_EQ(details.at("layers_trouble"), "");
  double sum_nj = 0;
  for (const json& layer : details.at("layers")) sum_nj += layer.value("energy_nj", 0.0);
  EXPECT_NEAR(sum_nj, details.at("metrics").at("energy_nj").get<double>(), 0.01);  // the sum is cut to picojoules
  dashboard.signal(SIGTERM);
  EXPECT_EQ(dashboard.wait(), 0);
}

// Labels as numbers, 1 at the label and 0 elsewhere: trials have accuracies, but are not judged by them.
TEST(NibbleDashboard, ASearchByAnErrorSaysSoEverywhere) {
  SearchWorkplace& workplace = SearchWorkplace::get();
  const std::string out = (workplace.dir() / "by_error").string();
  ChildProcess search =
      workplace.start({"autoq", workplace.run_config({{"max_trials", 2}, {"epochs", 1}, {"loss", "mse"}}).string(),
                       "--workers", "1", "--output", out, "--json"});
  ASSERT_EQ(search.wait(600), 0) << search.err();
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
  while (dashboard.is_running() && dashboard.out().find('\n') == std::string::npos) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  const std::string url = dashboard.out();
  ASSERT_TRUE(url.starts_with("http://127.0.0.1:")) << dashboard.err();
  httplib::Client client("127.0.0.1", std::stoi(url.substr(url.rfind(':') + 1)));
  const auto study = client.Get("/api/study");
  ASSERT_TRUE(study);
  EXPECT_EQ(json::parse(study->body).at("facts").at("metric"), judged);
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
