// nibble/search/worker.h
// The loop of a worker: claim a trial, run it, say how it ended; until the search is over.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <string>

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
  std::function<void(const Step&)> report;  // keeps a step in the study
};

struct TrialResult {
  bool stopped = false;  // by context.stop; the rest is not read then
  double score = 0;
  Metrics metrics = {};
  std::string artifact = {};  // file in the trial's directory, e.g. "model.keras"
};

// The objective.
class TrialRunner {
 public:
  virtual ~TrialRunner() = default;

  // Computes the score of context.claim.values. The same number and values must give the same result, whatever
  // was interrupted before.
  //   throws  IoError: the machine is at fault; the trial is released and the worker ends.
  //           Any other exception: the trial failed, its message is the reason, and the search goes on.
  virtual TrialResult run(const TrialContext& context) = 0;
};

struct WorkerOptions {
  std::string id;                           // empty: this_worker_id()
  std::filesystem::path directory;          // of the study
  const std::atomic<bool>* stop = nullptr;  // true: release the trial and return
  int poll_ms = 200;                        // how often to look for trials while others work
};

// Returns the number of trials that were completed or failed here. While it runs, a second thread
// renews the lease four times in a lease's time.
//   throws  what Storage throws, and IoError of the runner
int run_trials(Storage& storage, const SearchSpace& space, const Sampler& sampler, TrialRunner& runner,
               const WorkerOptions& options);

}  // namespace nibble::search
