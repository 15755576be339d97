#include "nibble/autoq/study_watch.h"

#include <algorithm>
#include <utility>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"

namespace nibble::autoq {
namespace fs = std::filesystem;

StudyWatch::StudyWatch(search::Storage& storage, fs::path directory, SearchObserver* observer)
    : storage_(storage),
      directory_(std::move(directory)),
      observer_(observer == nullptr ? silent_ : *observer),
      trials_(storage.trials()) {
  // What was there before is no news.
  for (const search::Trial& trial : trials_) steps_seen_.push_back(storage.steps(trial.number).size());
}

int StudyWatch::poll() {
  const int64_t revision = storage_.revision();
  if (revision == revision_) return 0;
  revision_ = revision;
  const std::vector<search::Trial> before = std::move(trials_);
  trials_ = storage_.trials();
  steps_seen_.resize(trials_.size(), 0);
  int news = 0;
  std::vector<const search::Trial*> finished;
  for (size_t i = 0; i < trials_.size(); ++i) {
    const search::Trial unknown{.number = trials_[i].number};
    const search::Trial& old = i < before.size() ? before[i] : unknown;
    news += announce_progress(old, trials_[i]);
    if (!old.finished() && trials_[i].finished()) finished.push_back(&trials_[i]);
  }
  news += static_cast<int>(finished.size());
  const search::Trial* best = announce_finished(std::move(finished), search::best_trial(before));
  if (best != nullptr && best->number != best_) copy_best(*best);
  return news;
}

const search::Trial* StudyWatch::announce_finished(std::vector<const search::Trial*> finished,
                                                   const search::Trial* best) {
  // Each is told the best until then, however many finished since the last look.
  std::stable_sort(finished.begin(), finished.end(),
                   [](const auto* a, const auto* b) { return a->finished_ms < b->finished_ms; });
  for (const search::Trial* trial : finished) {
    best = search::better_of(best, *trial);
    observer_.on_trial_finish(*trial, best);
  }
  return best;
}

int StudyWatch::announce_progress(const search::Trial& before, const search::Trial& now) {
  if (now.attempts > before.attempts) observer_.on_trial_start(now);
  size_t& seen = steps_seen_[static_cast<size_t>(now.number)];
  const size_t seen_before = seen;
  if (!before.finished()) {
    const std::vector<search::Step> steps = storage_.steps(now.number);
    for (; seen < steps.size(); ++seen) observer_.on_epoch(now, steps[seen]);
  }
  return static_cast<int>(seen - seen_before);
}

void StudyWatch::copy_best(const search::Trial& best) {
  best_ = best.number;
  const bool had_best_model = std::exchange(has_best_model_, false);
  if (best.artifact.empty()) return;
  if (std::error_code ignored; !fs::exists(directory_ / best.artifact, ignored)) {
    // Its worker writes to another machine's disk. The network copied for an earlier trial, which has it still, is not
    // to be taken for this one; a file that was there before may be the only one left, and stays.
    if (had_best_model) fs::remove(directory_ / "best" / "model.keras", ignored);
    observer_.on_notice(
        fmt::format("the weights of trial {}, the best so far, are not in '{}'; workers on other "
                    "machines need the same directory to bring them here.",
                    best.number, directory_.string()));
    return;
  }
  make_directories(directory_ / "best");
  const fs::path copy = directory_ / "best" / "model.keras";
  write_file(copy, read_file(directory_ / best.artifact));
  has_best_model_ = true;
}

fs::path StudyWatch::best_model() const { return has_best_model_ ? directory_ / "best" / "model.keras" : fs::path(); }

}  // namespace nibble::autoq
