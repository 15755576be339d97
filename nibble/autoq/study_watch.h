// nibble/autoq/study_watch.h
// Turns the changes of a study into calls of an observer, and keeps best/model.keras up to date.
// Private to autoq/.
#pragma once

#include <filesystem>
#include <vector>

#include "nibble/autoq/auto_qkeras.h"
#include "nibble/search/storage.h"

namespace nibble::autoq {

class StudyWatch {
 public:
  //   observer  may be null
  StudyWatch(search::Storage& storage, std::filesystem::path directory, SearchObserver* observer);

  // Looks for what is new since the last call. Returns the number of epochs reported and of trials
  // finished since then.
  int poll();

  const std::vector<search::Trial>& trials() const { return trials_; }
  // The best trial's network; empty where its weights are on another machine, or there is none.
  std::filesystem::path best_model() const;

 private:
  // Returns the number of new steps.
  int announce_progress(const search::Trial& before, const search::Trial& now);
  // Returns the best of all by now.
  //   best  of the trials that had finished before; may be null
  const search::Trial* announce_finished(std::vector<const search::Trial*> finished, const search::Trial* best);
  void copy_best(const search::Trial& best);

  search::Storage& storage_;
  std::filesystem::path directory_;
  SearchObserver silent_;
  SearchObserver& observer_;
  int64_t revision_ = -1;
  std::vector<search::Trial> trials_;
  std::vector<size_t> steps_seen_;
  int best_ = -1;
  bool has_best_model_ = false;  // of best_
};

}  // namespace nibble::autoq
