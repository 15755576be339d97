#include "nibble/search/worker.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "nibble/core/error.h"
#include "nibble/search/random_sampler.h"
#include "support/golden.h"

namespace nibble::search {
namespace {
namespace fs = std::filesystem;

const SearchSpace kSpace = {{"a", {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}}};
const RandomSampler kSampler(1);

// An objective made of a function.
class FunctionRunner final : public TrialRunner {
 public:
  using Function = std::function<TrialResult(const TrialContext&)>;
  explicit FunctionRunner(Function function) : function_(std::move(function)) {}
  TrialResult run(const TrialContext& context) override { return function_(context); }

 private:
  Function function_;
};

double value_of(const TrialContext& context) { return std::stod(context.claim.values.at("a")); }

struct Study {
  explicit Study(const std::string& name, int max_trials, StorageOptions options = {})
      : directory(testing::scratch_dir(name)),
        storage(Storage::create(directory / "study.db", {.name = name, .max_trials = max_trials}, std::move(options))) {
  }
  int run(FunctionRunner::Function function, const std::atomic<bool>* stop = nullptr) {
    FunctionRunner runner(std::move(function));
    return run_trials(storage, kSpace, kSampler, runner,
                      {.id = "", .directory = directory, .stop = stop, .poll_ms = 5});
  }
  fs::path directory;
  Storage storage;
};

TEST(Worker, RunsAllTrialsInTheirDirectories) {
  Study study("worker_all", 5);
  const int finished = study.run([](const TrialContext& context) {
    EXPECT_TRUE(fs::is_directory(context.directory));
    std::ofstream(context.directory / "model.keras") << "weights";
    context.report({1, {{"score", value_of(context)}}});
    return TrialResult{.score = value_of(context), .metrics = {{"accuracy", 1.0}}, .artifact = "model.keras"};
  });
  EXPECT_EQ(finished, 5);
  EXPECT_TRUE(study.storage.is_over());
  for (const Trial& trial : study.storage.trials()) {
    EXPECT_EQ(trial.state, TrialState::kCompleted);
    EXPECT_EQ(*trial.score, std::stod(trial.values.at("a")));
    EXPECT_EQ(trial.artifact, fmt::format("trials/{:04}/model.keras", trial.number));
    EXPECT_TRUE(fs::exists(study.directory / trial.artifact));
    EXPECT_EQ(study.storage.steps(trial.number).size(), 1u);
  }
}

TEST(Worker, AFailedTrialDoesNotEndTheSearch) {
  Study study("worker_failures", 3);
  int calls = 0;
  study.run([&](const TrialContext&) -> TrialResult {
    switch (calls++) {
      case 0:
        throw InvalidArgument("[fit] the loss became nan in epoch 1, step 3.");
      case 1:
        return {.score = std::nan("")};
      default:
        return {.score = 0.5};
    }
  });
  const auto trials = study.storage.trials();
  ASSERT_EQ(trials.size(), 3u);
  const char* reasons[] = {"[fit] the loss became nan in epoch 1, step 3.", "its score is nan", ""};
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(trials[i].state, i < 2 ? TrialState::kFailed : TrialState::kCompleted);
    EXPECT_EQ(trials[i].reason, reasons[i]);
  }
}

TEST(Worker, ATrialThatFindsNoMemoryIsTriedThreeTimes) {
  Study study("worker_memory", 2);
  int calls = 0;
  const int finished = study.run([&](const TrialContext& context) -> TrialResult {
    ++calls;
    // Trial 0 never fits, trial 1 does at its second attempt.
    if (context.claim.number == 0 || context.claim.attempt == 1) throw std::bad_alloc();
    return {.score = 0.5};
  });
  EXPECT_EQ(finished, 2);
  EXPECT_EQ(calls, 5);
  const auto trials = study.storage.trials();
  EXPECT_EQ(trials[0].state, TrialState::kFailed);
  EXPECT_NE(trials[0].reason.find("out of memory"), std::string::npos) << trials[0].reason;
  EXPECT_EQ(trials[1].state, TrialState::kCompleted);
}

TEST(Worker, TemporaryFilesGoOnlyAfterTheResultIsKept) {
  Study study("worker_temporary", 1);
  study.run([&](const TrialContext& context) {
    const fs::path checkpoint = context.directory / "checkpoint";
    if (context.claim.attempt == 1) {
      std::ofstream(checkpoint) << "epoch 1";
      study.storage.release(context.claim);  // given to another worker, so this result is refused
    } else {
      EXPECT_TRUE(fs::exists(checkpoint));
    }
    return TrialResult{.score = 1.0, .temporary = {"checkpoint", "never_written"}};
  });
  EXPECT_EQ(study.storage.trials()[0].attempts, 2);
  EXPECT_FALSE(fs::exists(study.directory / trial_directory(0) / "checkpoint"));
}

TEST(Worker, HalfWrittenFilesGoWhenATrialIsTakenOver) {
  Study study("worker_parts", 1);
  const char* kept[] = {"model.keras", "model.keras.123.0.part", ".someone_elses.part"};
  study.run([&](const TrialContext& context) {
    const fs::path part = context.directory / ".model.keras.123.0.part";
    if (context.claim.attempt == 1) {
      std::ofstream(part) << "bytes";
      for (const char* name : kept) std::ofstream(context.directory / name) << "bytes";
      study.storage.release(context.claim);  // as if it had been killed here
    } else {
      EXPECT_FALSE(fs::exists(part));
      for (const char* name : kept) EXPECT_TRUE(fs::exists(context.directory / name)) << name;
    }
    return TrialResult{.score = 1.0};
  });
  EXPECT_EQ(study.storage.trials()[0].attempts, 2);
}

TEST(Worker, AFullDiskReleasesTheTrialAndEndsTheWorker) {
  Study study("worker_io", 2);
  EXPECT_THROW(study.run([](const TrialContext&) -> TrialResult { throw IoError("the disk is full"); }), IoError);
  ASSERT_EQ(study.storage.trials().size(), 1u);
  EXPECT_EQ(study.storage.trials()[0].state, TrialState::kWaiting);
}

// The other worker clears the directory, so the file that is missing is no fault of the machine.
TEST(Worker, AFileThatIsMissingInALostTrialDoesNotEndTheWorker) {
  Study study("worker_lost_file", 1);
  const int finished = study.run([&](const TrialContext& context) {
    if (context.claim.attempt > 1) return TrialResult{.score = 2.0};
    study.storage.release(context.claim);  // as if the lease had run out while this one hung
    throw IoError("[write] cannot rename to model.keras: No such file or directory.");
  });
  EXPECT_EQ(finished, 1);
  EXPECT_EQ(study.storage.trials()[0].score, 2.0);
}

TEST(Worker, StopReleasesTheTrialThatAnotherGoesOnWith) {
  Study study("worker_stop", 2);
  std::atomic<bool> stop = false;
  int finished = study.run(
      [&](const TrialContext& context) {
        context.report({1, {{"score", 0.25}}});
        stop = true;
        while (!context.stop) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        return TrialResult{.stopped = true};
      },
      &stop);
  EXPECT_EQ(finished, 0);
  EXPECT_EQ(study.storage.trials()[0].state, TrialState::kWaiting);
  std::vector<size_t> steps_before;
  finished = study.run([&](const TrialContext& context) {
    steps_before.push_back(context.claim.steps.size());
    return TrialResult{.score = 1.0};
  });
  EXPECT_EQ(finished, 2);
  EXPECT_EQ(steps_before, (std::vector<size_t>{1, 0}));
}

// True once the lease was renewed by the clock as it stands now. The first write after that may have looked at the
// clock before.
bool is_renewed(const Storage& storage) {
  const int64_t before = storage.revision();
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(2);
  while (storage.revision() < before + 2) {
    if (std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

// By a clock that goes on only when the lease was renewed: however long that takes on a busy machine, it is no longer
// than the lease by that clock.
TEST(Worker, TheLeaseIsRenewedWhileATrialRuns) {
  std::atomic<int64_t> now = 1'000'000;
  const StorageOptions options = {.lease_ms = 100, .clock = [&] { return now.load(); }};
  Study study("worker_lease", 1, options);
  Storage other = Storage::open(study.directory / "study.db", options);
  study.run([&](const TrialContext&) {
    for (int i = 0; i < 15; ++i) {
      now += 100;
      EXPECT_FALSE(other.claim("thief", kSpace, kSampler).has_value());
      if (!is_renewed(other)) {
        ADD_FAILURE() << "the lease is not renewed";
        break;
      }
    }
    return TrialResult{.score = 1.0};
  });
  EXPECT_EQ(study.storage.trials()[0].attempts, 1);
}

TEST(Worker, AWorkerThatLostItsTrialSaysNothing) {
  Study study("worker_lost", 1);
  const int finished = study.run([&](const TrialContext& context) {
    if (context.claim.attempt > 1) return TrialResult{.score = 2.0};
    study.storage.release(context.claim);  // as if the lease had run out while this one hung
    EXPECT_FALSE(context.report({1, {}}));
    EXPECT_TRUE(context.stop);
    throw LeaseLost();
  });
  EXPECT_EQ(finished, 1);
  EXPECT_EQ(study.storage.trials()[0].score, 2.0);
  EXPECT_TRUE(study.storage.steps(0).empty());
}

TEST(Worker, ALeaseIsRenewedWithoutAStep) {
  Study study("worker_renewed", 1);
  study.run([&](const TrialContext& context) {
    if (context.claim.attempt > 1) return TrialResult{.score = 2.0};
    EXPECT_TRUE(context.renew());
    EXPECT_FALSE(context.stop);
    study.storage.release(context.claim);
    EXPECT_FALSE(context.renew());
    EXPECT_TRUE(context.stop);
    throw LeaseLost();
  });
  EXPECT_EQ(study.storage.trials()[0].score, 2.0);
  EXPECT_TRUE(study.storage.steps(0).empty());
}

}  // namespace
}  // namespace nibble::search
