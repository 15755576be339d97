// Eight workers of the real program on one PostgreSQL study, each killed (kill -9) at random moments.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "nibble/core/atomic_file.h"
#include "nibble/core/philox.h"
#include "nibble/search/storage.h"
#include "search_workplace.h"
#include "support/busy_machine.h"
#include "support/golden.h"
#include "support/postgresql_server.h"

namespace nibble::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr int kWorkers = 8, kTrials = 8, kEpochs = 40;

// Long trials, for they are to be hit.
fs::path run_config(const std::string& mode) {
  return SearchWorkplace::get().run_config({{"mode", mode}, {"max_trials", kTrials}, {"epochs", kEpochs}});
}

struct Results {
  json trials;
  std::vector<std::string> models;  // bytes, of each trial
};
Results results_of(const std::string& study, const fs::path& files) {
  Results results{.trials = trials_of(study), .models = {}};
  for (const json& trial : results.trials) {
    const std::string artifact = trial.at("artifact");
    EXPECT_FALSE(artifact.empty()) << trial;
    results.models.push_back(artifact.empty() ? "" : read_file(files / artifact));
  }
  return results;
}

// What nobody disturbs: one search in a file.
Results quiet_results() {
  const fs::path directory = SearchWorkplace::get().dir() / "quiet";
  const ProgramRun search = run_program({"autoq", run_config("random").string(), "--output", directory.string()});
  EXPECT_EQ(search.code, 0) << search.err;
  return results_of(directory.string(), directory);
}

struct Study {
  std::string url;
  fs::path directory;
};

// Makes the study and stops: the workers are to be the test's own.
Study made_study(const PostgresqlServer& server, const std::string& name, const std::string& mode) {
  const Study study{server.url(name), SearchWorkplace::get().dir() / name};
  ChildProcess search = SearchWorkplace::get().start({"autoq", run_config(mode).string(), "--study", study.url,
                                                      "--output", study.directory.string(), "--workers", "1"});
  EXPECT_TRUE(eventually([&] { return !search.is_running() || search::Storage::holds_study(study.url); }));
  search.signal(SIGTERM);
  const int code = search.wait();
  EXPECT_TRUE(code == 130 || code == 0) << code << ": " << search.err();
  return study;
}

using Worker = std::unique_ptr<ChildProcess>;
Worker started_worker(const Study& study) {
  return std::make_unique<ChildProcess>(
      nibble_program(),
      std::vector<std::string>{"worker", "--study", study.url, "--output", study.directory.string(), "--lease", "10"},
      ProcessOptions{
          .environment = {"NIBBLE_DATA_DIR=" + (SearchWorkplace::get().dir() / "data").string(), "NIBBLE_OFFLINE=1"}});
}

int64_t reported_epochs(const search::Storage& storage) {
  int64_t epochs = 0;
  for (const search::Trial& trial : storage.trials()) epochs += std::ssize(storage.steps(trial.number));
  return epochs;
}

// Kills one worker after the other until the study is over. Returns how many.
int finish_under_fire(const Study& study, uint64_t seed) {
  RandomStream random({.seed = seed, .purpose = RandomPurpose::kTest});
  const search::Storage storage = search::Storage::open(study.url);
  std::vector<Worker> workers;
  for (int i = 0; i < kWorkers; ++i) workers.push_back(started_worker(study));
  int kills = 0;
  uint32_t longest_ms = 4000;  // between two kills
  int64_t before = 0;
  while (!storage.is_over() && !::testing::Test::HasFailure()) {
    const auto next = steady_clock::now() + milliseconds(1 + random.below(longest_ms));
    while (steady_clock::now() < next && !storage.is_over()) std::this_thread::sleep_for(milliseconds(20));
    Worker& victim = workers[random.below(kWorkers)];
    victim->signal(SIGKILL);
    const int code = victim->wait();
    EXPECT_TRUE(code == 128 + SIGKILL || code == 0) << code << ": " << victim->err();
    if (code != 0) ++kills;
    victim = started_worker(study);
    if (kills % kWorkers != 0) continue;
    // On a machine that is busy with other things, workers would be killed before they can do anything at all, and
    // three deaths without an epoch in between end a trial.
    const int64_t now = reported_epochs(storage);
    if (now < before + kEpochs) longest_ms = std::min(longest_ms * 2, 60000u);
    before = now;
  }
  for (const Worker& worker : workers) EXPECT_EQ(worker->wait(), 0) << worker->err();
  return kills;
}

// Every trial finished once, with each of its epochs.
void expect_valid_history(const std::string& url) {
  const search::Storage storage = search::Storage::open(url);
  const std::vector<search::Trial> trials = storage.trials();
  ASSERT_EQ(trials.size(), size_t{kTrials});
  for (const search::Trial& trial : trials) {
    EXPECT_EQ(trial.state, search::TrialState::kCompleted) << trial.number << ": " << trial.reason;
    EXPECT_TRUE(trial.score.has_value()) << trial.number;
    const std::vector<search::Step> steps = storage.steps(trial.number);
    ASSERT_EQ(steps.size(), size_t{kEpochs}) << trial.number;
    for (int i = 0; i < kEpochs; ++i) EXPECT_EQ(steps[static_cast<size_t>(i)].step, i + 1) << trial.number;
  }
}

// NIBBLE_KILL_SECONDS=600 goes on for ten minutes, study after study, every other one with a sampler that learns.
TEST(WorkersUnderFire, EveryTrialIsFinishedOnceAsInAQuietRun) {
  const PostgresqlServer* server = PostgresqlServer::get();
  if (server == nullptr) GTEST_SKIP() << PostgresqlServer::kAbsent;
  const char* given = std::getenv("NIBBLE_KILL_SECONDS");
  const Results quiet = quiet_results();
  const auto end = steady_clock::now() + seconds(given == nullptr ? 1 : std::atoi(given));
  int kills = 0, studies = 0;
  do {
    const std::string mode = studies % 2 == 0 ? "random" : "tpe";
    const Study study = made_study(*server, fmt::format("under_fire_{}", studies), mode);
    kills += finish_under_fire(study, static_cast<uint64_t>(++studies));
    expect_valid_history(study.url);
    const Results results = results_of(study.url, study.directory);
    EXPECT_TRUE(half_written(study.directory).empty());
    if (mode != "random") continue;
    EXPECT_EQ(results.trials, quiet.trials);
    EXPECT_TRUE(results.models == quiet.models) << "models differ";
  } while (steady_clock::now() < end && !HasFailure());
  EXPECT_GT(kills, 0);
  std::cout << fmt::format("{} workers killed, {} trials finished in {} studies\n", kills, studies * kTrials, studies);
}

}  // namespace
}  // namespace nibble::testing
