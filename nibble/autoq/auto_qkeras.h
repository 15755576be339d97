// nibble/autoq/auto_qkeras.h
// AutoQKeras: searches quantizers and widths of every layer under a goal.
//
//   SearchOptions options;
//   options.directory = "out";
//   const SearchResult result = run_search(read_file("run.json"), options);
//
// The directory then holds
//   study.db                   the study: trials, their values, scores and epochs
//   trials/NNNN/model.keras    weights of each trial's best epoch
//   best/model.keras           those of the best trial
//   logs/worker-K.log          what worker K said
//   sensitivity.json           what a guided start measured
// Trials run in worker processes, one thread each. Results do not depend on their number, nor on what was
// killed on the way.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "nibble/autoq/run_config.h"
#include "nibble/search/study.h"

namespace nibble::autoq {

// Watches a search from the launcher's process. Calls come from the thread that called run_search.
class SearchObserver {
 public:
  virtual ~SearchObserver() = default;
  // Once, with all trials so far; reference_cost is the unquantized network's, in pJ or bits.
  virtual void on_start(const std::string& run_config, const std::vector<search::Trial>& trials, int max_trials,
                        int workers, double reference_cost) {}
  virtual void on_notice(const std::string& sentence) {}  // e.g. that synthetic data stand in
  virtual void on_trial_start(const search::Trial& trial) {}
  virtual void on_epoch(const search::Trial& trial, const search::Step& step) {}
  virtual void on_trial_finish(const search::Trial& trial, const search::Trial* best) {}
  virtual void on_poll() {}  // a few times a second, for a clock
};

// Starts worker number k of a study, given by its URL; returns its process id. The worker runs trials until the study
// is over.
using SpawnWorker = std::function<pid_t(int k, const std::string& study)>;

struct SearchOptions {
  std::filesystem::path directory;          // of the study and the trials' files; made if it is not there
  std::string study = {};                   // URL (search/study_url.h); empty: directory/study.db
  bool resume = false;                      // go on with the study in the directory
  bool any_version = false;                 // with resume: also with one that another version of nibble made
  int workers = 0;                          // 0: as the run_config says, else one a core
  const std::atomic<bool>* stop = nullptr;  // true: end the workers cleanly and return
  SearchObserver* observer = nullptr;
  // Empty: this program again, as `worker --study DIR/study.db` or `worker --study URL --output DIR`, with one thread
  // for each math library, its output in logs/. It is told by SIGTERM to stop, also when the launcher dies.
  SpawnWorker spawn = {};
};

struct SearchResult {
  std::vector<search::Trial> trials;
  std::optional<search::Trial> best;  // nothing if no trial was completed
  bool is_over = false;               // false: stopped before the end
  bool is_exhausted = false;          // over with fewer trials than max_trials: there are no more
  std::filesystem::path best_model;   // directory/best/model.keras; empty without best
  // A sentence if the search is over and no trial kept the budget's accuracy or error; else empty.
  std::string missed_bound = {};
};

// Runs the search that run_config describes (its JSON text); with options.resume, the text may be empty.
//   throws  InvalidArgument / Unsupported for the configuration, a study that is there already without resume, one
//           that another process works on, one of another configuration with resume, or one whose model, teacher,
//           process table or data hold something else by now (search_inputs.h); Unsupported for one of another
//           version of nibble with resume (any_version); IoError, CorruptFile;
//           IoError with the workers' last words if they cannot work
SearchResult run_search(const std::string& run_config, const SearchOptions& options);

// A sentence if the best trial of a search, and so none, keeps the budget's accuracy or error; else empty.
//   best  may be null
std::string missed_bound(const RunConfig& config, const search::Trial* best);

// The URL of the search's study.
std::string study_of(const SearchOptions& options);

struct WorkerProcessOptions {
  int64_t lease_ms = 60'000;
  std::filesystem::path directory = {};  // of the trials' files; empty: beside the study's file
  bool any_version = false;              // join a study that another version of nibble made
  const std::atomic<bool>* stop = nullptr;
};

// Body of a worker process: runs trials of the study until it is over. Any number may do so, on this and
// other machines. Where their directories are one (a network file system), a trial goes on from the checkpoint of
// another machine; where they are not, it begins anew, with the same result.
//   returns  the number of trials finished here
//   throws  Unsupported if another version of nibble made the study (search/code_version.h) and options do not allow
//           it: its trials might come out otherwise; InvalidArgument if its files or data hold something else here
int run_worker(const std::string& study_url, const WorkerProcessOptions& options = {});

}  // namespace nibble::autoq
