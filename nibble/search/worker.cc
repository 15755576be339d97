#include "nibble/search/worker.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <regex>
#include <thread>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/search/worker_id.h"

namespace nibble::search {
namespace fs = std::filesystem;
namespace {

using std::chrono::milliseconds;

// Keeps one trial's lease alive, and passes on when the runner should stop.
class Heartbeat {
 public:
  Heartbeat(Storage& storage, const Storage::Claim& claim, const std::atomic<bool>* user_stop)
      : storage_(storage), claim_(claim), user_stop_(user_stop), thread_([this] { beat(); }) {}

  ~Heartbeat() {
    {
      const std::lock_guard guard(mutex_);
      done_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

  const std::atomic<bool>& stop() const { return stop_; }
  void lose() { stop_ = lost_ = true; }
  bool lost() const { return lost_; }
  bool stopped_by_user() const { return user_stop_ != nullptr && *user_stop_; }

 private:
  void beat() {
    const milliseconds period(std::max<int64_t>(1, storage_.lease_ms() / 4));
    auto next = std::chrono::steady_clock::now() + period;
    std::unique_lock lock(mutex_);
    while (!done_) {
      // Short waits, so that Ctrl-C is passed on quickly.
      wake_.wait_for(lock, std::min(period, milliseconds(50)));
      if (stopped_by_user()) stop_ = true;
      if (done_ || std::chrono::steady_clock::now() < next) continue;
      next = std::chrono::steady_clock::now() + period;
      lock.unlock();
      renew();
      lock.lock();
    }
  }

  void renew() {
    try {
      if (!storage_.renew(claim_)) lose();
    } catch (const Error&) {
      // The lease may survive until the next try; if not, the final compare-and-set says so.
    }
  }

  Storage& storage_;
  const Storage::Claim& claim_;
  const std::atomic<bool>* user_stop_;
  std::atomic<bool> stop_ = false, lost_ = false;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool done_ = false;
  std::thread thread_;  // last: it uses all of the above
};

// The highest metric "score" up to `step` of the trials but `number` that reported it.
std::vector<double> best_scores(const Storage& storage, int number, int step) {
  std::vector<double> scores;
  for (const Trial& trial : storage.trials()) {
    if (trial.number == number) continue;
    double best = -HUGE_VAL;
    bool came_so_far = false;
    for (const Step& reported : storage.steps(trial.number)) {
      const auto score = reported.metrics.find("score");
      if (reported.step > step || score == reported.metrics.end()) continue;
      best = std::max(best, score->second);
      came_so_far = came_so_far || reported.step == step;
    }
    if (came_so_far) scores.push_back(best);
  }
  return scores;
}

// A trial to run; nothing if there is none now.
std::optional<Storage::Claim> claim_or_wait(Storage& storage, const std::string& id, const SearchSpace& space,
                                            const Sampler& sampler) {
  try {
    return storage.claim(id, space, sampler);
  } catch (const WaitForTrials&) {
    return std::nullopt;
  }
}

// Runs one trial; true if it is finished for good.
bool run_one(Storage& storage, const Storage::Claim& claim, TrialRunner& runner, const WorkerOptions& options) {
  const fs::path relative = trial_directory(claim.number);
  Heartbeat heartbeat(storage, claim, options.stop);
  const auto kept = [&](bool is_ours) {
    if (!is_ours) heartbeat.lose();
    return is_ours;
  };
  const auto report = [&](const Step& step) { return kept(storage.report(claim, step)); };
  const auto renew = [&] { return kept(storage.renew(claim)); };
  try {
    make_directories(options.directory / relative);
    if (claim.attempt > 1) remove_half_written(options.directory / relative);
    const auto others = [&](int step) { return best_scores(storage, claim.number, step); };
    const TrialResult result =
        runner.run({claim, options.directory / relative, heartbeat.stop(), report, others, renew});
    if (heartbeat.lost()) return false;
    if (result.stopped) {
      storage.release(claim);
      return false;
    }
    if (!std::isfinite(result.score)) {
      return storage.fail(claim, fmt::format("its score is {}", result.score));
    }
    const std::string artifact = result.artifact.empty() ? "" : (relative / result.artifact).generic_string();
    if (!storage.complete(claim, result.score, result.metrics, artifact)) return false;
    std::error_code ignored;
    for (const std::string& name : result.temporary) fs::remove(options.directory / relative / name, ignored);
    return true;
  } catch (const IoError&) {
    // Who was given the trial meanwhile removes half-written files there: that one is missing says nothing of the
    // machine.
    if (!storage.release(claim)) return false;
    throw;
  } catch (const LeaseLost&) {
    return false;
  } catch (const std::bad_alloc&) {
    // There may be room when other programs end; if it never fits, the trial is given up.
    return storage.abandon(claim);
  } catch (const std::exception& error) {
    return storage.fail(claim, error.what());
  }
}

}  // namespace

fs::path trial_directory(int number) { return fs::path("trials") / fmt::format("{:04}", number); }

void remove_half_written(const fs::path& directory) {
  static const std::regex half_written(R"(\..+\.[0-9]+\.[0-9]+\.part)");
  std::error_code error, ignored;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    if (std::regex_match(entry->path().filename().string(), half_written)) fs::remove(entry->path(), ignored);
  }
}

int run_trials(Storage& storage, const SearchSpace& space, const Sampler& sampler, TrialRunner& runner,
               const WorkerOptions& options) {
  const std::string id = options.id.empty() ? this_worker_id() : options.id;
  const auto stopped = [&] { return options.stop != nullptr && *options.stop; };
  int finished = 0;
  while (!stopped()) {
    const auto claim = claim_or_wait(storage, id, space, sampler);
    if (claim) {
      if (run_one(storage, *claim, runner, options)) ++finished;
    } else if (storage.is_over()) {
      break;
    } else {
      // Others work on the last trials; one of them may die and leave its trial to us.
      std::this_thread::sleep_for(milliseconds(options.poll_ms));
    }
  }
  return finished;
}

}  // namespace nibble::search
