// Eight workers of the real program on one PostgreSQL study, each killed (kill -9) at random moments.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
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
using std::chrono::minutes;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr int kWorkers = 8, kTrials = 8, kEpochs = 24;
constexpr int kMostStudies = 10;  // that are tried for want of a worker that is caught in mid-trial

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
  const ProgramRun search =
      run_program({"autoq", run_config("random").string(), "--output", directory.string(), "--workers", "1"});
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
  EXPECT_TRUE(is_caught([&](int) {
    ChildProcess search = SearchWorkplace::get().start({"autoq", run_config(mode).string(), "--study", study.url,
                                                        "--output", study.directory.string(), "--workers", "1"});
    EXPECT_TRUE(eventually([&] { return !search.is_running() || search::Storage::holds_study(study.url); }));
    search.signal(SIGTERM);
    if (search.wait() == 130) return true;
    EXPECT_EQ(search.wait(), 0) << search.err();
    search::Storage::remove(study.url);
    fs::remove_all(study.directory);
    return false;
  })) << "each search was over before it could be stopped";
  return study;
}

// Eight workers of a study, of which it kills one after the other.
class Fire {
 public:
  Fire(const Study& study, uint64_t seed)
      : study_(study),
        storage_(search::Storage::open(study.url)),
        random_({.seed = seed, .purpose = RandomPurpose::kTest}) {
    for (int i = 0; i < kWorkers; ++i) workers_.push_back(started_worker());
  }

  // Until the study is over. Returns how many workers were killed in the middle of a trial.
  int rage() {
    const auto give_up = steady_clock::now() + minutes(15);
    while (!storage_.is_over() && !::testing::Test::HasFailure()) {
      wait_for_epochs(random_.below(2 * kWorkers));
      std::this_thread::sleep_for(milliseconds(random_.below(300)));
      if (steady_clock::now() > give_up) ADD_FAILURE() << "not over after 15 minutes: " << trials_of(study_.url);
      hit(workers_[random_.below(kWorkers)]);
    }
    if (::testing::Test::HasFailure()) return hits_;
    for (const Worker& worker : workers_) EXPECT_EQ(worker->wait(), 0) << worker->err();
    return hits_;
  }

 private:
  using Worker = std::unique_ptr<ChildProcess>;
  struct Progress {
    size_t epochs = 0;
    int deaths = 0;  // since then
  };

  Worker started_worker() const {
    return Worker(new ChildProcess(SearchWorkplace::get().start(
        {"worker", "--study", study_.url, "--output", study_.directory.string(), "--lease", "120"})));
  }

  // Of all trials, from now on, so that a slow machine is as far as a fast one when the next worker is killed; not for
  // ever, for all trials may wait for the same dead one.
  void wait_for_epochs(size_t count) const {
    const size_t wanted = reported_epochs() + count;
    const auto give_up = steady_clock::now() + seconds(30);
    while (reported_epochs() < wanted && !storage_.is_over() && steady_clock::now() < give_up) {
      std::this_thread::sleep_for(milliseconds(50));
    }
  }

  size_t reported_epochs() const {
    size_t epochs = 0;
    for (const search::Trial& trial : storage_.trials()) epochs += storage_.steps(trial.number).size();
    return epochs;
  }

  int trial_of(const ChildProcess& worker) const {
    for (const search::Trial& trial : storage_.trials()) {
      if (trial.state == search::TrialState::kRunning && worker_pid(trial) == worker.pid()) return trial.number;
    }
    return -1;
  }

  // Three deaths without an epoch in between end a trial, which is not what is wanted here: a trial is hit once an
  // epoch, and once more at most where its worker took it since we looked. Workers that have none are mostly spared:
  // eight of them at once begin slowly.
  void hit(Worker& worker) {
    const int trial = trial_of(*worker);
    if (trial < 0) {
      if (random_.below(kWorkers) > 0) return;
    } else {
      Progress& progress = progress_[trial];
      const size_t epochs = storage_.steps(trial).size();
      if (epochs > progress.epochs) progress = {epochs, 0};
      if (progress.deaths > 0) return;
      ++progress.deaths;
    }
    worker->signal(SIGKILL);
    const int code = worker->wait();
    EXPECT_TRUE(code == 128 + SIGKILL || code == 0) << code << ": " << worker->err();
    if (code != 0 && trial >= 0) ++hits_;
    // Nobody has to wait for its lease, as if a launcher had seen it die.
    const auto is_dead = [&](std::string_view name) { return pid_of(name) == worker->pid(); };
    storage_.release_dead([&](std::string_view name) -> std::optional<bool> {
      if (is_dead(name)) return false;
      return std::nullopt;
    });
    worker = started_worker();
  }

  const Study& study_;
  search::Storage storage_;
  RandomStream random_;
  std::vector<Worker> workers_;
  std::map<int, Progress> progress_;
  int hits_ = 0;
};

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
  int hits = 0, studies = 0;
  do {
    const std::string mode = studies % 2 == 0 ? "random" : "tpe";
    const Study study = made_study(*server, fmt::format("under_fire_{}", studies), mode);
    hits += Fire(study, static_cast<uint64_t>(++studies)).rage();
    if (HasFailure()) break;
    expect_valid_history(study.url);
    const Results results = results_of(study.url, study.directory);
    EXPECT_TRUE(half_written(study.directory).empty());
    if (mode != "random") continue;
    EXPECT_EQ(results.trials, quiet.trials);
    EXPECT_TRUE(results.models == quiet.models) << "models differ";
  } while ((steady_clock::now() < end || (hits == 0 && studies < kMostStudies)) && !HasFailure());
  EXPECT_GT(hits, 0);
  std::cout << fmt::format("{} workers killed in mid-trial, {} trials finished in {} studies\n", hits,
                           studies * kTrials, studies);
}

}  // namespace
}  // namespace nibble::testing
