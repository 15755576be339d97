#include "nibble/autoq/launcher.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <thread>

#include "nibble/core/error.h"
#include "nibble/search/worker_id.h"

namespace nibble::autoq {
namespace {

constexpr int kPollMs = 100;
constexpr int kFarewellMs = 30'000;  // after the last trial; a worker has to notice that
// Workers that are killed without an epoch having been reported in between, before the search is given up.
constexpr int kMaxFruitlessDeaths = 8;

}  // namespace

Launcher::Launcher(const SearchOptions& options, search::Storage& storage, int workers)
    : options_(options),
      storage_(storage),
      workers_(workers),
      watch_(storage, options.directory, options.observer),
      pool_(options.spawn, options.directory, study_of(options)) {}

SearchResult Launcher::run() {
  try {
    if (!storage_.is_over() && !stopped()) {
      pool_.start(std::min(workers_, open_trials()));
      supervise();
    }
  } catch (...) {
    put_back_soon();
    throw;
  }
  // Stopped workers release their trials, which takes one training step.
  pool_.finish(storage_.is_over() ? kFarewellMs : 0);
  storage_.release_dead(search::is_alive);
  watch_.poll();
  return result();
}

bool Launcher::stopped() const { return options_.stop != nullptr && *options_.stop; }

// At least 1: the sampler may know that nothing is left, and says so to a worker.
int Launcher::open_trials() const {
  const int unfinished = static_cast<int>(std::count_if(watch_.trials().begin(), watch_.trials().end(),
                                                        [](const search::Trial& t) { return !t.finished(); }));
  return std::max(1, storage_.info().max_trials - static_cast<int>(watch_.trials().size()) + unfinished);
}

// While an exception is on its way, which tells more than one of the storage would. A worker may end without a word
// to the study (killed, or its last write failed); nobody is to wait for the end of its lease.
void Launcher::put_back_soon() noexcept {
  pool_.finish_soon();
  try {
    storage_.release_dead(search::is_alive);
  } catch (const std::exception&) {  // seen at the next --resume, which does the same
  }
}

void Launcher::supervise() {
  int fruitless_deaths = 0;
  while (!storage_.is_over() && !stopped()) {
    // In this order: an epoch that a worker reported before it ended is progress.
    const int ended = pool_.collect_ended();
    fruitless_deaths += ended;
    if (watch_.poll() > 0) {
      fruitless_deaths = 0;
      pool_.note_progress();
    }
    if (options_.observer != nullptr) options_.observer->on_poll();
    if (ended > 0 && !stopped()) {
      pool_.restart_ended();
      storage_.release_dead(search::is_alive);
      if (pool_.has_given_up() || fruitless_deaths >= kMaxFruitlessDeaths) {
        throw IoError(
            "[autoq] the workers end before they finish a trial: {} Finished trials are kept; go on with "
            "--resume when the cause is gone.",
            pool_.last_words());
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(kPollMs));
  }
}

SearchResult Launcher::result() const {
  SearchResult result;
  result.trials = watch_.trials();
  if (const search::Trial* best = search::best_trial(result.trials)) {
    result.best = *best;
    result.best_model = watch_.best_model();
  }
  result.is_over = storage_.is_over();
  result.is_exhausted = result.is_over && static_cast<int>(result.trials.size()) < storage_.info().max_trials;
  return result;
}

}  // namespace nibble::autoq
