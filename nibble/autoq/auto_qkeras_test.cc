// Whole searches with real worker processes and real training, on a small network and small data.
// The program is its own worker: `auto_qkeras_test worker --study DIR/study.db`.
//
// A launcher looks at its study some times a second, and a busy machine may give it no time for as long as all trials
// of a small search take. What is to happen in the middle of a search happens in one that has no end, or again in
// another one.
#include "nibble/autoq/auto_qkeras.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

#include "nibble/autoq/small_search.h"
#include "nibble/core/atomic_file.h"
#include "nibble/core/child_program.h"
#include "nibble/core/error.h"
#include "nibble/search/code_version.h"
#include "nibble/search/random_sampler.h"
#include "nibble/search/storage.h"
#include "nibble/search/worker.h"
#include "nibble/search/worker_id.h"
#include "support/golden.h"

namespace nibble::autoq {
namespace {
namespace fs = std::filesystem;

const Outcome& undisturbed() {
  static const Outcome outcome = [] {
    const fs::path directory = testing::scratch_dir("autoq_one") / "out";
    const SearchResult result = run_search(searched_config(), {.directory = directory, .workers = 1});
    EXPECT_TRUE(result.is_over);
    EXPECT_TRUE(result.best.has_value());
    EXPECT_FALSE(fs::exists(directory / "trials/0000/checkpoint"));
    EXPECT_EQ(read_file(result.best_model), read_file(directory / result.best->artifact));
    return outcome_of(result, directory);
  }();
  return outcome;
}

// More than are finished before the launcher looks for the first time, however long it is kept from that.
constexpr int kEndless = 400;

std::string with_max_trials(int max_trials, const std::string& more = "") {
  return replaced(searched_config(more), "\"max_trials\": 4", fmt::format("\"max_trials\": {}", max_trials));
}

// What the search would have come to with no more than the first four trials.
SearchResult first_four(SearchResult result) {
  result.trials.resize(std::min<size_t>(result.trials.size(), 4));
  const search::Trial* best = search::best_trial(result.trials);
  result.best = best == nullptr ? std::nullopt : std::optional(*best);
  return result;
}

class Recorder final : public SearchObserver {
 public:
  explicit Recorder(int max_trials = 4) : max_trials_(max_trials) {}
  void on_start(const std::string&, const std::vector<search::Trial>&, int max_trials, int, double reference) override {
    EXPECT_EQ(max_trials, max_trials_);
    EXPECT_GT(reference, 0);
  }
  void on_trial_start(const search::Trial&) override { ++started; }
  void on_epoch(const search::Trial&, const search::Step& step) override {
    ++epochs;
    EXPECT_TRUE(step.metrics.contains("val_accuracy"));
    if (during_epoch) during_epoch();
  }
  void on_trial_finish(const search::Trial&, const search::Trial* best) override {
    ++finished;
    EXPECT_NE(best, nullptr);
  }
  std::function<void()> during_epoch;
  int started = 0, epochs = 0, finished = 0;

 private:
  int max_trials_;
};

// True if there was one at a trial.
bool kill_a_worker(const fs::path& directory) {
  bool killed = false;
  for (const search::Trial& trial : search::Storage::open(directory / "study.db").trials()) {
    if (trial.state != search::TrialState::kRunning) continue;
    const std::string pid = trial.worker.substr(0, trial.worker.rfind('/'));
    killed = kill(std::stoi(pid.substr(pid.rfind('/') + 1)), SIGKILL) == 0 || killed;
  }
  return killed;
}

// A search whose worker was killed in the middle of a trial.
struct Disturbed {
  fs::path directory;
  SearchResult result;
};

// Nothing if none of several searches was seen in the middle of a trial.
std::optional<Disturbed> search_with_a_killed_worker(const std::string& name, const std::string& text) {
  constexpr int kMostSearches = 10;
  const fs::path root = testing::scratch_dir(name);
  for (int i = 0; i < kMostSearches; ++i) {
    Disturbed disturbed{.directory = root / fmt::format("{}", i), .result = {}};
    Recorder recorder;
    bool killed = false;
    recorder.during_epoch = [&] { killed = killed || kill_a_worker(disturbed.directory); };
    disturbed.result = run_search(text, {.directory = disturbed.directory, .workers = 1, .observer = &recorder});
    EXPECT_TRUE(disturbed.result.is_over);
    // Else the trial was over by the time that its worker was killed.
    const bool is_retaken = std::any_of(disturbed.result.trials.begin(), disturbed.result.trials.end(),
                                        [](const search::Trial& trial) { return trial.attempts > 1; });
    if (killed && is_retaken) return disturbed;
  }
  return std::nullopt;
}

TEST(AutoQKeras, ScoresEveryTrialAndKeepsItsWeights) {
  const Outcome& outcome = undisturbed();
  ASSERT_EQ(outcome.scores.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    ASSERT_TRUE(outcome.scores[i].has_value());
    const search::Metrics& metrics = outcome.metrics[i];
    EXPECT_DOUBLE_EQ(*outcome.scores[i], metrics.at("accuracy") * (1 + metrics.at("delta")));
    EXPECT_GT(metrics.at("energy_nj"), 0);
    EXPECT_FALSE(outcome.models[i].empty());
  }
}

TEST(AutoQKeras, TwoWorkersGiveTheSame) {
  const fs::path directory = testing::scratch_dir("autoq_two") / "out";
  Recorder recorder;
  const SearchResult result =
      run_search(searched_config(), {.directory = directory, .workers = 2, .observer = &recorder});
  EXPECT_EQ(outcome_of(result, directory), undisturbed());
  EXPECT_EQ(recorder.started, 4);
  EXPECT_EQ(recorder.finished, 4);
  EXPECT_EQ(recorder.epochs, 12);
}

TEST(AutoQKeras, AKilledWorkerIsReplacedAndItsTrialRetaken) {
  const auto disturbed = search_with_a_killed_worker("autoq_kill", searched_config());
  ASSERT_TRUE(disturbed.has_value()) << "no worker was killed at a trial";
  EXPECT_EQ(outcome_of(disturbed->result, disturbed->directory), undisturbed());
}

TEST(AutoQKeras, AStoppedSearchIsGoneOnWith) {
  const fs::path directory = testing::scratch_dir("autoq_stop") / "out";
  std::atomic<bool> stop = false;
  Recorder recorder(kEndless);
  recorder.during_epoch = [&] { stop = true; };
  const SearchResult first = run_search(with_max_trials(kEndless),
                                        {.directory = directory, .workers = 1, .stop = &stop, .observer = &recorder});
  EXPECT_FALSE(first.is_over);
  for (const search::Trial& trial : first.trials) EXPECT_NE(trial.state, search::TrialState::kRunning);
  EXPECT_THROW(run_search(searched_config(), {.directory = directory}), InvalidArgument);
  EXPECT_THROW(run_search(with_max_trials(kEndless, R"(, "batch_norm_statistics": "moving")"),
                          {.directory = directory, .resume = true}),
               InvalidArgument);
  const fs::path part = directory / "best/.model.keras.1.0.part";
  make_directories(part.parent_path());
  write_file(part, "of a launcher that was killed");
  const int trials = std::max(4, static_cast<int>(first.trials.size()));
  const SearchResult second =
      run_search(with_max_trials(trials), {.directory = directory, .resume = true, .workers = 2});
  EXPECT_TRUE(second.is_over);
  EXPECT_EQ(static_cast<int>(second.trials.size()), trials);
  EXPECT_FALSE(fs::exists(part));
  EXPECT_EQ(outcome_of(first_four(second), directory), undisturbed());
}

TEST(AutoQKeras, AStudyOfAnotherCommitIsGoneOnWithWhenAskedTo) {
  const fs::path directory = testing::scratch_dir("autoq_version") / "out";
  const std::atomic<bool> stop = true;
  run_search(searched_config(), {.directory = directory, .stop = &stop});
  const std::string here = search::code_version(), there = "nibble 0.1.0, commit 0123456789ab";
  const std::string url = (directory / "study.db").string();
  search::StudyInfo info = search::Storage::open(url).info();
  EXPECT_EQ(info.code_version, here);
  fs::remove(url);
  info.code_version = there;
  search::Storage::create(url, info);
  for (const auto& refused : std::vector<std::function<void()>>{
           [&] { run_search("", {.directory = directory, .resume = true, .stop = &stop}); },
           [&] { run_worker(url, {.stop = &stop}); }}) {
    try {
      refused();
      ADD_FAILURE() << "no error";
    } catch (const Unsupported& error) {
      for (const std::string& word : {there, here, std::string("--any-version")}) {
        EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
      }
    }
  }
  EXPECT_EQ(search::Storage::open(url).info().code_version, there);
  const SearchResult result =
      run_search("", {.directory = directory, .resume = true, .any_version = true, .workers = 1});
  EXPECT_EQ(outcome_of(result, directory), undisturbed());
  EXPECT_EQ(search::Storage::open(url).info().code_version, there + "; then " + here);
  EXPECT_EQ(run_worker(url, {.stop = &stop}), 0) << "it is named by now";
}

TEST(AutoQKeras, NaNLossFailsTheTrialAndTheSearchGoesOn) {
  const fs::path directory = testing::scratch_dir("autoq_nan") / "out";
  std::string text = searched_config();
  text.replace(text.find("0.01"), 4, "3e38");
  text.replace(text.find("\"Conv2D\""), text.find("\"Activation\"") - text.find("\"Conv2D\""), "");
  const SearchResult result = run_search(text, {.directory = directory, .workers = 1});
  EXPECT_TRUE(result.is_over);
  EXPECT_EQ(result.trials.size(), 4u);
  int failed = 0;
  for (const search::Trial& trial : result.trials) {
    if (trial.state != search::TrialState::kFailed) continue;
    ++failed;
    EXPECT_NE(trial.reason.find("the loss became"), std::string::npos) << trial.reason;
  }
  EXPECT_GT(failed, 0);
}

TEST(AutoQKeras, AnExceptionOfTheObserverPutsTheTrialBack) {
  const fs::path directory = testing::scratch_dir("autoq_exception") / "out";
  Recorder recorder(kEndless);
  recorder.during_epoch = [] { throw std::runtime_error("the observer's"); };
  EXPECT_THROW(run_search(with_max_trials(kEndless), {.directory = directory, .workers = 1, .observer = &recorder}),
               std::runtime_error);
  const search::Storage storage = search::Storage::open(directory / "study.db");
  EXPECT_FALSE(storage.is_over());
  for (const search::Trial& trial : storage.trials()) {
    EXPECT_NE(trial.state, search::TrialState::kRunning) << trial.number;
  }
}

// Workers that do what none should: run_badly() of `auto_qkeras_test KIND STUDY`.
constexpr const char* kSilent = "silent_worker";        // takes a trial; a stop ends it without a word to the study
constexpr const char* kFailing = "failing_worker";      // waits for SIGUSR1 and ends with an error
constexpr const char* kReporting = "reporting_worker";  // reports an epoch before that

pid_t start_bad_worker(const char* kind, const std::string& study, const fs::path& directory) {
  return run_this_program({kind, study}, {}, directory / "logs/worker-0.log");
}

sigset_t only(int signal) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, signal);
  return signals;
}

int run_badly(const std::string& kind, const std::string& study) {
  const sigset_t awaited = only(SIGUSR1);
  int signal = 0;
  if (kind != kSilent) sigwait(&awaited, &signal);
  if (kind == kFailing) return 1;
  search::Storage storage = search::Storage::open(study);
  const search::StudyInfo info = storage.info();
  const auto claim =
      storage.claim(search::this_worker_id(), search::space_from_json(info.space), search::RandomSampler(info.seed));
  while (kind == kSilent) pause();
  return storage.report(*claim, {1, {{"score", 0.5}}}) ? 1 : 2;
}

TEST(AutoQKeras, TheTrialOfAWorkerThatEndsWithoutAWordIsPutBack) {
  const fs::path directory = testing::scratch_dir("autoq_silent") / "out";
  struct Thrower final : SearchObserver {
    void on_trial_start(const search::Trial&) override { throw std::runtime_error("the observer's"); }
  } thrower;
  const auto spawn = [&](int, const std::string& study) { return start_bad_worker(kSilent, study, directory); };
  EXPECT_THROW(
      run_search(searched_config(), {.directory = directory, .workers = 1, .observer = &thrower, .spawn = spawn}),
      std::runtime_error);
  const std::vector<search::Trial> trials = search::Storage::open(directory / "study.db").trials();
  ASSERT_EQ(trials.size(), 1u);
  EXPECT_EQ(trials[0].state, search::TrialState::kWaiting);
}

// Of four workers that fail, the second reports an epoch and fails between two looks at the study. The third and the
// fourth are the first two in a row.
TEST(AutoQKeras, AnEpochReportedJustBeforeAFailureIsProgress) {
  const fs::path directory = testing::scratch_dir("autoq_progress") / "out";
  // They inherit it, so that a signal waits for them while they start.
  const sigset_t held = only(SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &held, nullptr);
  int started = 0;
  struct Failing final : SearchObserver {
    void on_poll() override {
      if (worker <= 0) return;
      kill(worker, SIGUSR1);
      siginfo_t ignored;
      waitid(P_PID, static_cast<id_t>(worker), &ignored, WEXITED | WNOWAIT);
      worker = -1;
    }
    pid_t worker = -1;
  } failing;
  const auto spawn = [&](int, const std::string& study) {
    failing.worker = start_bad_worker(++started == 2 ? kReporting : kFailing, study, directory);
    return failing.worker;
  };
  EXPECT_THROW(
      run_search(searched_config(), {.directory = directory, .workers = 1, .observer = &failing, .spawn = spawn}),
      IoError);
  pthread_sigmask(SIG_UNBLOCK, &held, nullptr);
  EXPECT_EQ(started, 4);
  EXPECT_EQ(search::Storage::open(directory / "study.db").steps(0).size(), 1u);
}

TEST(AutoQKeras, AStudyWithoutTablesIsStartedNotResumed) {
  const fs::path directory = testing::scratch_dir("autoq_empty") / "out";
  make_directories(directory);
  write_file(directory / "study.db", "");  // killed before there were tables
  const std::atomic<bool> stop = true;
  EXPECT_THROW(run_search("", {.directory = directory, .resume = true, .stop = &stop}), IoError);
  EXPECT_FALSE(run_search(searched_config(), {.directory = directory, .stop = &stop}).is_over);
  EXPECT_FALSE(run_search("", {.directory = directory, .resume = true, .stop = &stop}).is_over);
}

// What a worker that ends at once leaves in its log, and how the search ends then.
struct LastWords {
  const char* line;
  int exit_code;  // 0: ended by SIGKILL
  int workers_started;
  const char* words;
};
class BrokenWorkers : public ::testing::TestWithParam<LastWords> {};
TEST_P(BrokenWorkers, EndTheSearchWithTheirWords) {
  const fs::path directory = testing::scratch_dir("autoq_broken") / "out";
  int started = 0;
  const auto spawn = [&](int k, const std::string&) {
    ++started;
    write_file(directory / "logs" / fmt::format("worker-{}.log", k), GetParam().line);
    const pid_t pid = fork();
    if (pid == 0) {
      if (GetParam().exit_code == 0) raise(SIGKILL);
      _exit(GetParam().exit_code);
    }
    return pid;
  };
  try {
    run_search(searched_config(), {.directory = directory, .workers = 1, .spawn = spawn});
    ADD_FAILURE() << "no error";
  } catch (const IoError& error) {
    EXPECT_NE(std::string(error.what()).find(fmt::format("{} Finished trials are kept", GetParam().words)),
              std::string::npos)
        << error.what();
  }
  EXPECT_EQ(started, GetParam().workers_started);
}
INSTANTIATE_TEST_SUITE_P(Ends, BrokenWorkers,
                         ::testing::Values(LastWords{"something is missing here\n", 3, 2,
                                                     "exit code 3; its last line is: something is missing here."},
                                           LastWords{"Is the disk full?\n", 1, 2,
                                                     "exit code 1; its last line is: Is the disk full?"},
                                           LastWords{"", 1, 2, "exit code 1."}, LastWords{"", 0, 9, "signal 9."}));

// While it lives, the process works in another directory.
class WorkingIn {
 public:
  explicit WorkingIn(const fs::path& directory) : before_(fs::current_path()) { fs::current_path(directory); }
  ~WorkingIn() { fs::current_path(before_); }
  WorkingIn(const WorkingIn&) = delete;
  WorkingIn& operator=(const WorkingIn&) = delete;

 private:
  fs::path before_;
};

TEST(AutoQKeras, APathFromTheCurrentDirectoryHoldsFromAnyOther) {
  const fs::path root = testing::scratch_dir("autoq_relative"), out = root / "out";
  make_directories(root / "elsewhere");
  fs::copy_file(small_model_file(), root / "net.keras");
  const std::string text = replaced(searched_config(), small_model_file().string(), "net.keras");
  const std::atomic<bool> stop = true;
  {
    const WorkingIn there(root);
    EXPECT_FALSE(run_search(text, {.directory = "out", .stop = &stop}).is_over);
  }
  {
    const WorkingIn elsewhere(root / "elsewhere");
    const SearchResult result = run_search("", {.directory = out, .resume = true, .workers = 1});
    EXPECT_EQ(outcome_of(result, out), undisturbed());
  }
  {
    const WorkingIn elsewhere(root / "elsewhere");
    try {
      run_search(text, {.directory = out, .resume = true});
      ADD_FAILURE() << "no error";
    } catch (const InvalidArgument& error) {
      for (const char* words : {"made with other files: RUN's model is '", "elsewhere/net.keras' from here"}) {
        EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
      }
    }
  }
  const WorkingIn there(root);
  EXPECT_TRUE(run_search(text, {.directory = out, .resume = true}).is_over) << "the same configuration";
  fs::rename("net.keras", "other.keras");
  try {
    run_search("", {.directory = out, .resume = true});
    ADD_FAILURE() << "no error";
  } catch (const IoError& error) {
    EXPECT_NE(std::string(error.what()).find("net.keras' is not there"), std::string::npos) << error.what();
  }
}

// The budget is that of the cheapest tenth of networks: no trial exceeds it.
TEST(AutoQKeras, NoTrialExceedsTheBudget) {
  const Outcome& free = undisturbed();
  double cheapest = HUGE_VAL;
  for (const search::Metrics& metrics : free.metrics) cheapest = std::min(cheapest, metrics.at("energy_nj"));
  const std::string text = searched_config(fmt::format(R"(, "mode": "tpe", "budget": {{"energy_nj": {}}})", cheapest));
  const SearchResult result =
      run_search(text, {.directory = testing::scratch_dir("autoq_budget") / "out", .workers = 1});
  ASSERT_EQ(result.trials.size(), 4u);
  for (const search::Trial& trial : result.trials) EXPECT_LE(trial.metrics.at("energy_nj"), cheapest);
}

TEST(Executions, AKilledWorkerLeavesTheResultAsItIs) {
  const std::string text = searched_config(R"(, "executions_per_trial": 2)");
  const fs::path quiet = testing::scratch_dir("autoq_twice") / "out";
  const SearchResult first = run_search(text, {.directory = quiet, .workers = 2});
  const auto second = search_with_a_killed_worker("autoq_twice_killed", text);
  ASSERT_TRUE(second.has_value()) << "no worker was killed at a trial";
  EXPECT_EQ(outcome_of(first, quiet), outcome_of(second->result, second->directory));
  for (const search::Trial& trial : second->result.trials) {
    EXPECT_EQ(search::Storage::open(second->directory / "study.db").steps(trial.number).size(), 6u);
    std::vector<std::string> files;
    for (const auto& entry : fs::directory_iterator(second->directory / search::trial_directory(trial.number))) {
      files.push_back(entry.path().filename().string());
    }
    EXPECT_EQ(files, std::vector<std::string>{"model.keras"});
  }
}

}  // namespace
}  // namespace nibble::autoq

int main(int argc, char** argv) {
  using namespace nibble::autoq;
  const std::string kind = argc == 3 ? argv[1] : "";
  if (kind == kSilent || kind == kFailing || kind == kReporting) return run_badly(kind, argv[2]);
  return run_as_worker_or_tests(argc, argv);
}
