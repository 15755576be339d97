// nibble/search/worker.h
// The loop of a worker: claim a trial, run it, say how it ended; until the search is over.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "nibble/core/error.h"
#include "nibble/search/storage.h"

namespace nibble::search {

// Directory of a trial beneath that of its study: "trials/0007".
std::filesystem::path trial_directory(int number);

// What a runner knows of its trial.
struct TrialContext {
  const Storage::Claim& claim;
  std::filesystem::path directory;  // exists; what an earlier attempt left is still there
  // True when the runner should end soon: Ctrl-C, or the trial was given to another worker.
  const std::atomic<bool>& stop;
  // Keeps a step in the study and renews the lease. False: the trial was given to another worker, whose files must
  // not be touched any more; see LeaseLost.
  std::function<bool(const Step&)> report;
  // The highest metric "score" up to a step, of each other trial that reported that step; for pruners. May be empty.
  std::function<std::vector<double>(int step)> others = {};
  // Renews the lease where there is no step to report; false as report(). May be empty.
  std::function<bool()> renew = {};
};

struct TrialResult {
  bool stopped = false;  // by context.stop; the rest is not read then
  double score = 0;
  Metrics metrics = {};
  std::string artifact = {};  // file in the trial's directory, e.g. "model.keras"
  // Files in the trial's directory, e.g. checkpoints, that go once the study has the result: until then another worker
  // may need them.
  std::vector<std::string> temporary = {};
};

// What a runner may throw to end when report() returned false. The study is not told.
class LeaseLost : public Error {
 public:
  LeaseLost() : Error("[study] the trial was given to another worker.") {}
};

// The objective.
class TrialRunner {
 public:
  virtual ~TrialRunner() = default;

  // Computes the score of context.claim.values. The same number and values must give the same result, whatever
  // was interrupted before.
  //   throws  IoError: the machine is at fault; the trial is released and the worker ends. Nothing happens if the
  //           trial was given to another worker.
  //           std::bad_alloc: counts as the worker's death; the trial is tried again, a few times.
  //           LeaseLost: nothing happens to the trial.
  //           Any other exception: the trial failed, its message is the reason, and the search goes on.
  virtual TrialResult run(const TrialContext& context) = 0;
};

struct WorkerOptions {
  std::string id;                           // empty: this_worker_id()
  std::filesystem::path directory;          // of the study
  const std::atomic<bool>* stop = nullptr;  // true: release the trial and return
  int poll_ms = 200;                        // how often to look for trials while others work
};

// Removes what processes that were killed while they wrote files left in the directory: ".NAME.PID.N.part", as
// AtomicFile names them.
void remove_half_written(const std::filesystem::path& directory);

// Returns the number of trials that were completed or failed here. While it runs, a second thread
// renews the lease four times in a lease's time.
//   throws  what Storage throws, and IoError of the runner
int run_trials(Storage& storage, const SearchSpace& space, const Sampler& sampler, TrialRunner& runner,
               const WorkerOptions& options);

}  // namespace nibble::search
