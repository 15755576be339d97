// nibble/cli/search_progress.h
// A search as a person sees it: a line for every finished trial, which says whether it is the best or on the Pareto
// front, and on a terminal a bar with what runs now, the best so far, the size of the front and the time left.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "nibble/autoq/auto_qkeras.h"
#include "nibble/cli/progress.h"
#include "nibble/search/pareto.h"

namespace nibble::cli {

class SearchProgress : public autoq::SearchObserver {
 public:
  SearchProgress(std::ostream& err, bool is_terminal) : bar_(err, is_terminal) {}

  void on_start(const std::string& run_config, const std::vector<search::Trial>& trials, int max_trials, int workers,
                double reference_cost) override;
  void on_notice(const std::string& sentence) override;
  void on_trial_start(const search::Trial& trial) override { search_.running[trial.number] = 0; }
  void on_epoch(const search::Trial& trial, const search::Step& step) override {
    search_.running[trial.number] = step.step;
  }
  void on_trial_finish(const search::Trial& trial, const search::Trial* best) override;
  void on_poll() override;

  const std::vector<std::string>& notices() const { return notices_; }
  void clear() { bar_.clear(); }

 private:
  std::string remaining() const;
  std::string describe(const search::Trial& trial) const;
  // Takes the trial into the front of what trials are judged by and cost, where no trial there is as good in both. True
  // if it did.
  bool join_front(const search::Trial& trial);

  // A search by blocks is one search after the other, and none knows the trials of another.
  struct Search {
    int max_trials = 0, epochs = 0, finished = 0;
    int finished_here = 0;  // since it was begun, or gone on with
    std::string best;
    std::vector<search::Objective> objectives;  // what trials are judged by, and cost
    std::vector<search::Losses> front;
    std::map<int, int> running;  // trial -> epochs done
    std::chrono::steady_clock::time_point begin{};
  };

  ProgressBar bar_;
  Search search_;
  std::vector<std::string> notices_;
};

}  // namespace nibble::cli
