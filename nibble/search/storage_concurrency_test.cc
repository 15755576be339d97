// Many workers on one study: threads, processes, and processes that are killed.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <thread>

#include "nibble/core/error.h"
#include "nibble/core/philox.h"
#include "nibble/search/random_sampler.h"
#include "nibble/search/storage.h"
#include "nibble/search/storage_workplace.h"
#include "nibble/search/worker_id.h"

namespace nibble::search {
namespace {

using testing::Place;
class StorageConcurrency : public testing::AtEveryPlace {};

const SearchSpace kSpace = {{"a", {"0", "1", "2", "3", "4", "5", "6", "7"}},
                            {"b", {"0", "1", "2", "3", "4", "5", "6", "7"}}};
const RandomSampler kSampler(9);
constexpr int kTrials = 40;

std::string make_study(Place place, const std::string& name) {
  const std::string url = testing::new_study_url(place, name);
  Storage::create(url, {.name = name, .space = to_json(kSpace), .seed = 9, .max_trials = kTrials});
  return url;
}

// Killing is the test's fault, not the trial's.
constexpr int kManyDeaths = 1'000'000;

// Works until nothing is left; returns how many trials this worker completed.
int work(const std::string& url) {
  Storage storage = Storage::open(url, {.max_deaths = kManyDeaths});
  int completed = 0;
  while (const auto claim = storage.claim(this_worker_id(), kSpace, kSampler)) {
    for (int step = 1; step <= 3; ++step) storage.report(*claim, {step, {{"score", 0.1 * step}}});
    if (storage.complete(*claim, std::stod(claim->values.at("a")), {}, "")) ++completed;
  }
  return completed;
}

// The values that any number of workers must give.
std::vector<Assignment> expected_values() {
  std::vector<Trial> trials;
  std::vector<Assignment> values;
  while (trials.size() < kTrials) {
    values.push_back(*kSampler.propose(kSpace, trials));
    trials.push_back({.number = static_cast<int>(trials.size()), .values = values.back()});
  }
  return values;
}

void expect_finished(const std::string& url) {
  const Storage storage = Storage::open(url);
  EXPECT_TRUE(storage.is_over());
  const std::vector<Trial> trials = storage.trials();
  const std::vector<Assignment> values = expected_values();
  ASSERT_EQ(trials.size(), values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(trials[i].state, TrialState::kCompleted) << i;
    EXPECT_EQ(trials[i].values, values[i]) << i;
    EXPECT_EQ(trials[i].score, std::stod(values[i].at("a"))) << i;
    EXPECT_EQ(storage.steps(static_cast<int>(i)).size(), 3u) << i;
  }
}

template <class Body>
pid_t in_child(Body&& body) {
  const pid_t pid = fork();
  if (pid == 0) {
    int status = 1;
    try {
      status = body();
    } catch (const std::exception& error) {
      fprintf(stderr, "child: %s\n", error.what());
    }
    _exit(status);
  }
  return pid;
}

int wait_for(pid_t pid) {
  int status = 0;
  waitpid(pid, &status, 0);
  return status;
}

TEST_P(StorageConcurrency, ProcessesShareTheTrials) {
  const std::string url = make_study(GetParam(), "processes");
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    children.push_back(in_child([&] {
      work(url);
      return 0;
    }));
  }
  for (const pid_t child : children) EXPECT_EQ(wait_for(child), 0);
  expect_finished(url);
  for (const Trial& trial : Storage::open(url).trials()) EXPECT_EQ(trial.attempts, 1) << trial.number;
}

TEST_P(StorageConcurrency, AKilledWorkersTrialIsRetaken) {
  const std::string url = make_study(GetParam(), "killed");
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const pid_t child = in_child([&] {
    Storage storage = Storage::open(url);
    const auto claim = storage.claim(this_worker_id(), kSpace, kSampler);
    storage.report(*claim, {1, {{"score", 0.1}}});
    const char ready = 'r';
    if (write(pipe_ends[1], &ready, 1) != 1) return 1;
    pause();
    return 0;
  });
  close(pipe_ends[1]);  // so that a child that ends early is noticed
  char ready = 0;
  ASSERT_EQ(read(pipe_ends[0], &ready, 1), 1);
  Storage storage = Storage::open(url);
  EXPECT_EQ(storage.release_dead(is_alive), 0);  // it lives
  kill(child, SIGKILL);
  wait_for(child);
  EXPECT_EQ(storage.release_dead(is_alive), 1);
  EXPECT_EQ(storage.steps(0).size(), 1u);
  work(url);
  expect_finished(url);
  EXPECT_EQ(storage.trials()[0].attempts, 2);
}

// A machine that is busy with other things may let workers end before they are killed. No more studies than these are
// tried for want of kills.
constexpr int kMostStudies = 20;

// Kills one worker after the other until the study is over. Returns how many had not ended.
int finish_one_by_one(const std::string& url) {
  int kills = 0;
  for (int round = 0; round < 400 && !Storage::open(url).is_over(); ++round) {
    const pid_t child = in_child([&] {
      work(url);
      return 0;
    });
    usleep(static_cast<useconds_t>(4000 + 1501 * (round % 13)));
    kill(child, SIGKILL);
    if (WIFSIGNALED(wait_for(child))) ++kills;
    Storage::open(url, {.max_deaths = kManyDeaths}).release_dead(is_alive);
  }
  work(url);
  return kills;
}

TEST_P(StorageConcurrency, KillingWorkersAtAnyMomentLosesNothing) {
  int kills = 0;
  for (int studies = 0; kills == 0 && studies < kMostStudies && !HasFailure(); ++studies) {
    const std::string url = make_study(GetParam(), fmt::format("massacre_{}", studies));
    kills = finish_one_by_one(url);
    expect_finished(url);
  }
  EXPECT_GT(kills, 0);
}

TEST_P(StorageConcurrency, ThreadsShareTheTrials) {
  const std::string url = make_study(GetParam(), "threads");
  std::vector<std::thread> threads;
  std::vector<int> completed(6, 0);
  for (size_t i = 0; i < completed.size(); ++i) threads.emplace_back([&, i] { completed[i] = work(url); });
  for (std::thread& thread : threads) thread.join();
  int sum = 0;
  for (const int count : completed) sum += count;
  EXPECT_EQ(sum, kTrials);
  expect_finished(url);
}

TEST_P(StorageConcurrency, OneStorageServesManyThreads) {
  const std::string url = make_study(GetParam(), "one_storage");
  Storage storage = Storage::open(url);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      while (const auto claim = storage.claim("thread", kSpace, kSampler)) {
        for (int step = 1; step <= 3; ++step) storage.report(*claim, {step, {}});
        storage.complete(*claim, std::stod(claim->values.at("a")), {}, "");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  expect_finished(url);
}

// Kills one of eight workers after the other, each at a random moment, until the study is over. Returns how many.
int finish_under_fire(const std::string& url, uint64_t seed) {
  constexpr int kWorkers = 8;
  RandomStream random({.seed = seed, .purpose = RandomPurpose::kTest});
  const auto start = [&] {
    return in_child([&] {
      work(url);
      return 0;
    });
  };
  std::vector<pid_t> workers;
  for (int i = 0; i < kWorkers; ++i) workers.push_back(start());
  Storage storage = Storage::open(url, {.max_deaths = kManyDeaths});
  const auto completed = [&] {
    const auto trials = storage.trials();
    return std::count_if(trials.begin(), trials.end(), [](const Trial& trial) { return trial.finished(); });
  };
  int kills = 0;
  uint32_t longest_ms = 12;  // between two kills
  auto before = completed();
  while (!storage.is_over()) {
    usleep(1000 * (1 + random.below(longest_ms)));
    pid_t& victim = workers[random.below(kWorkers)];
    kill(victim, SIGKILL);
    if (WIFSIGNALED(wait_for(victim))) ++kills;  // else it was done already
    storage.release_dead(is_alive);
    victim = start();
    if (kills % 40 != 39) continue;
    // On a machine that is busy with other things, workers would be killed before they can do anything at all.
    if (completed() == before) longest_ms = std::min(longest_ms * 2, 1000u);
    before = completed();
  }
  for (const pid_t worker : workers) wait_for(worker);
  return kills;
}

// NIBBLE_KILL_SECONDS=600 goes on for ten minutes, study after study.
TEST_P(StorageConcurrency, EightWorkersKilledAtRandomFinishEveryTrialOnce) {
  const char* given = std::getenv("NIBBLE_KILL_SECONDS");
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(given == nullptr ? 1 : std::atoi(given));
  int kills = 0, studies = 0;
  do {
    const std::string url = make_study(GetParam(), fmt::format("under_fire_{}", studies));
    kills += finish_under_fire(url, static_cast<uint64_t>(++studies));
    expect_finished(url);
  } while ((std::chrono::steady_clock::now() < end || (kills == 0 && studies < kMostStudies)) && !HasFailure());
  EXPECT_GT(kills, 0);
  std::cout << fmt::format("{} workers killed, {} trials finished in {} studies\n", kills, studies * kTrials, studies);
}

INSTANTIATE_TEST_SUITE_P(Databases, StorageConcurrency, ::testing::Values(Place::kSqlite, Place::kPostgresql),
                         testing::place_name);

}  // namespace
}  // namespace nibble::search
