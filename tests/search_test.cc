// Whole searches with the real program: repeated, with more workers, killed, stopped, gone on with.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <regex>
#include <string>
#include <vector>

#include "nibble/core/atomic_file.h"
#include "nibble/search/storage.h"
#include "nibble/search/worker_id.h"
#include "search_workplace.h"
#include "support/busy_machine.h"

namespace nibble::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const SearchWorkplace& place() { return SearchWorkplace::get(); }

std::vector<std::string> autoq(const fs::path& output, const std::vector<std::string>& more,
                               const json& changes = json()) {
  std::vector<std::string> words = {"autoq", place().run_config(changes).string(), "--output", output.string()};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

std::vector<std::string> resume(const fs::path& output, const std::string& workers = "1") {
  return {"autoq", "--resume", "--output", output.string(), "--workers", workers};
}

void run_to_the_end(const std::vector<std::string>& arguments) {
  ChildProcess search = place().start(arguments);
  ASSERT_EQ(search.wait(), 0) << search.err();
}

// Whether a trial was begun more than once: it was not done when its worker was stopped or killed.
bool has_retaken_trial(const fs::path& output) {
  const std::vector<search::Trial> trials = search::Storage::open((output / "study.db").string()).trials();
  return std::any_of(trials.begin(), trials.end(), [](const search::Trial& trial) { return trial.attempts > 1; });
}

// One worker, nothing disturbed: what every other search here must come to.
const SearchOutcome& undisturbed() {
  static const SearchOutcome outcome = [] {
    const fs::path output = place().dir() / "undisturbed";
    run_to_the_end(autoq(output, {"--workers", "1"}));
    return outcome_of(output);
  }();
  return outcome;
}

// For searches that were to be disturbed and were not: they must have come to the same. Returns false.
bool over_undisturbed(ChildProcess& search, const fs::path& output) {
  EXPECT_EQ(search.wait(), 0) << search.err();
  expect_same(outcome_of(output), undisturbed());
  return false;
}

TEST(Search, EveryTrialIsScoredAndTheBestOneKept) {
  const SearchOutcome& outcome = undisturbed();
  ASSERT_EQ(outcome.trials.size(), 3u);
  double best = -1;
  std::string best_model;
  for (size_t i = 0; i < outcome.trials.size(); ++i) {
    const json& trial = outcome.trials[i];
    EXPECT_EQ(trial.at("state"), "completed");
    EXPECT_GT(trial.at("energy_nj").get<double>(), 0);
    EXPECT_FALSE(trial.at("quantizers").empty());
    if (trial.at("score").get<double>() <= best) continue;
    best = trial.at("score").get<double>();
    best_model = outcome.models[i];
  }
  EXPECT_TRUE(outcome.best_model == best_model);
}

TEST(Search, TheBestModelCanBeEvaluatedAndHasItsAccuracy) {
  undisturbed();
  ChildProcess best = place().start({"study", "best", (place().dir() / "undisturbed").string(), "--json"});
  ASSERT_EQ(best.wait(), 0) << best.err();
  ChildProcess evaluate = place().start(
      {"evaluate", (place().dir() / "undisturbed/best/model.keras").string(), "--data", "mnist", "--json"});
  ASSERT_EQ(evaluate.wait(), 0) << evaluate.err();
  EXPECT_NEAR(json::parse(evaluate.out()).at("accuracy").get<double>(),
              json::parse(best.out()).at("accuracy").get<double>(), 1e-9);
}

TEST(Search, TheReportNeedsNoOtherFile) {
  const std::string& page = undisturbed().report;
  EXPECT_THAT(page, HasSubstr("</html>"));
  EXPECT_THAT(page, HasSubstr("conv2d_0"));
  // Links may stand in it for a reader to follow; nothing may be loaded.
  EXPECT_FALSE(std::regex_search(page, std::regex("<script[^>]*\\ssrc\\s*=")));
  EXPECT_FALSE(std::regex_search(page, std::regex("<link[^>]*\\shref\\s*=\\s*[\"']?(https?:|/)")));
  EXPECT_FALSE(std::regex_search(page, std::regex("<img[^>]*\\ssrc\\s*=\\s*[\"']?https?:")));
}

TEST(Search, TheSameCommandTwiceGivesTheSame) {
  const fs::path output = place().dir() / "twice";
  run_to_the_end(autoq(output, {"--workers", "1"}));
  expect_same(outcome_of(output), undisturbed());
}

TEST(Search, TwoWorkersGiveTheSame) {
  const fs::path output = place().dir() / "two";
  run_to_the_end(autoq(output, {"--workers", "2"}));
  expect_same(outcome_of(output), undisturbed());
}

TEST(Search, AKilledWorkerIsReplaced) {
  undisturbed();
  EXPECT_TRUE(is_caught([](int number) {
    const fs::path output = place().dir() / ("worker_killed_" + std::to_string(number));
    ChildProcess search = place().start(autoq(output, {"--workers", "1"}));
    const search::Trial trial = wait_for_mid_trial(output, 1, search);
    if (trial.number >= 0 && search::is_alive(trial.worker).value_or(false)) kill(worker_pid(trial), SIGKILL);
    EXPECT_EQ(search.wait(), 0) << search.err();
    expect_same(outcome_of(output), undisturbed());
    return has_retaken_trial(output);
  })) << "each search was over before its worker could be killed";
}

// Every process gone in one moment, as when the power fails.
TEST(Search, AKilledSearchIsGoneOnWith) {
  undisturbed();
  EXPECT_TRUE(is_caught([](int number) {
    const fs::path output = place().dir() / ("killed_" + std::to_string(number));
    {
      ChildProcess search = place().start(autoq(output, {"--workers", "2"}));
      if (wait_for_mid_trial(output, 0, search).number < 0) return over_undisturbed(search, output);
      search.signal_group(SIGKILL);
      if (search.wait() != 128 + SIGKILL) return over_undisturbed(search, output);
    }
    run_to_the_end(resume(output, "2"));
    expect_same(outcome_of(output), undisturbed());
    return has_retaken_trial(output);
  })) << "each search was over before it could be killed";
}

TEST(Search, AKilledLauncherTakesItsWorkersAlong) {
  undisturbed();
  EXPECT_TRUE(is_caught([](int number) {
    const fs::path output = place().dir() / ("launcher_killed_" + std::to_string(number));
    ChildProcess search = place().start(autoq(output, {"--workers", "1"}));
    const search::Trial trial = wait_for_mid_trial(output, 0, search);
    if (trial.number < 0) return over_undisturbed(search, output);
    search.signal(SIGKILL);
    if (search.wait() != 128 + SIGKILL) return over_undisturbed(search, output);
    run_to_the_end(resume(output));
    expect_same(outcome_of(output), undisturbed());
    EXPECT_TRUE(eventually([&] { return !search::is_alive(trial.worker).value_or(true); }))
        << "the worker outlived its launcher";
    return has_retaken_trial(output);  // a worker that was told nothing would have done it to its end
  })) << "each search was over before its launcher could be killed";
}

struct Stop {
  const char* name;
  int signal;
  bool whole_group;  // as a terminal does it; job schedulers signal one process, or all
};
class StoppedSearch : public ::testing::TestWithParam<Stop> {};

TEST_P(StoppedSearch, EndsWithASentenceAndIsGoneOnWith) {
  undisturbed();
  EXPECT_TRUE(is_caught([](int number) {
    const auto& [name, signal, whole_group] = GetParam();
    const fs::path output = place().dir() / ("stopped_" + std::string(name) + "_" + std::to_string(number));
    ChildProcess search = place().start(autoq(output, {"--workers", "1"}));
    if (wait_for_mid_trial(output, 1, search).number < 0) return over_undisturbed(search, output);
    whole_group ? search.signal_group(signal) : search.signal(signal);
    // Its worker may do all that is left before the launcher hears of the signal.
    if (search.wait() == 0) return over_undisturbed(search, output);
    EXPECT_EQ(search.wait(), 130) << search.err();
    EXPECT_THAT(search.err(), HasSubstr("--resume"));
    EXPECT_THAT(half_written(output), IsEmpty());
    EXPECT_TRUE(fs::exists(output / "report.html"));
    // Workers were told once and ended in their own time.
    EXPECT_THAT(read_file(output / "logs/worker-0.log"), HasSubstr(" finished here"));
    run_to_the_end(resume(output));
    expect_same(outcome_of(output), undisturbed());
    return has_retaken_trial(output);
  })) << "each search was over before it could be stopped";
}

INSTANTIATE_TEST_SUITE_P(Signals, StoppedSearch,
                         ::testing::Values(Stop{"CtrlC", SIGINT, true}, Stop{"Terminate", SIGTERM, false},
                                           Stop{"TerminateAll", SIGTERM, true}),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(Search, ResumingAFinishedSearchChangesNothing) {
  undisturbed();
  run_to_the_end(resume(place().dir() / "undisturbed"));
  expect_same(outcome_of(place().dir() / "undisturbed"), undisturbed());
}

TEST(Search, ATrialWhoseLossIsNaNFailsWithTheReason) {
  const fs::path output = place().dir() / "nan";
  // Weights without quantizers, which would clip them.
  const json diverging = {{"learning_rate", 3e38},
                          {"max_trials", 2},
                          {"epochs", 1},
                          {"limit", {{"Dense", nullptr}, {"Conv2D", nullptr}, {"DepthwiseConv2D", nullptr}}}};
  ChildProcess search = place().start(autoq(output, {"--workers", "1"}, diverging));
  const int code = search.wait();
  const SearchOutcome outcome = outcome_of(output);
  int failed = 0;
  for (const json& trial : outcome.trials) {
    if (trial.at("state") != "failed") continue;
    ++failed;
    EXPECT_THAT(trial.at("reason").get<std::string>(), HasSubstr("the loss became"));
    EXPECT_TRUE(trial.at("score").is_null());
  }
  EXPECT_GT(failed, 0) << "a learning rate of 3e38 did no harm";
  EXPECT_EQ(outcome.trials.size(), 2u) << "the search goes on after a failed trial";
  EXPECT_EQ(code, failed == 2 ? 1 : 0) << search.err();
  EXPECT_THAT(search.err(), HasSubstr(failed == 2 ? "no trial was completed" : ""));
  EXPECT_THAT(search.err(), HasSubstr("2 trials of up to 1 epoch, 0 finished before; 1 worker; reference"));
}

}  // namespace
}  // namespace nibble::testing
