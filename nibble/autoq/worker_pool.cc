#include "nibble/autoq/worker_pool.h"

#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <thread>

#include "nibble/core/atomic_file.h"
#include "nibble/core/child_program.h"
#include "nibble/core/error.h"
#include "nibble/search/study_url.h"

namespace nibble::autoq {
namespace fs = std::filesystem;
namespace {

constexpr int kKillAfterMs = 20'000;
constexpr int kKillSoonMs = 5'000;  // after an exception, which someone waits to read
constexpr int kMaxErrors = 2;       // of one worker, in a row

fs::path log_path(const fs::path& directory, int k) { return directory / "logs" / fmt::format("worker-{}.log", k); }

// One thread for each math library. They read it while they are loaded, so a worker could not set it itself.
std::vector<std::string> worker_environment() {
  return {"OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1", "MKL_NUM_THREADS=1"};
}

// What follows the program's name. A study in a file has its trials beside it; one on a server must be told where.
std::vector<std::string> worker_arguments(const std::string& study, const fs::path& directory) {
  if (!search::is_server_url(study)) return {"worker", "--study", fs::absolute(search::sqlite_path(study)).string()};
  return {"worker", "--study", study, "--output", fs::absolute(directory).string()};
}

}  // namespace

WorkerPool::WorkerPool(SpawnWorker spawn, fs::path directory, std::string study)
    : spawn_(std::move(spawn)), directory_(std::move(directory)), study_(std::move(study)) {
  make_directories(directory_ / "logs");
}

WorkerPool::~WorkerPool() { finish_soon(); }

void WorkerPool::start(int count) {
  for (int k = 0; k < count; ++k) {
    workers_.push_back({.k = k});
    launch(workers_.back());
  }
}

void WorkerPool::launch(Worker& worker) {
  const std::vector<std::string> arguments = worker_arguments(study_, directory_);
  worker.pid = spawn_ ? spawn_(worker.k, arguments[2])
                      : run_this_program(arguments, worker_environment(), log_path(directory_, worker.k));
}

std::string WorkerPool::words_of(const Worker& worker, int status) const {
  return fmt::format("worker {} {}", worker.k, how_it_ended(status, log_path(directory_, worker.k)));
}

int WorkerPool::collect_ended() {
  int ended = 0;
  for (Worker& worker : workers_) {
    int status = 0;
    if (worker.pid <= 0 || waitpid(worker.pid, &status, WNOHANG) != worker.pid) continue;
    last_words_ = words_of(worker, status);
    worker.pid = -1;
    ++ended;
    const bool failed = WIFEXITED(status) && WEXITSTATUS(status) != 0;
    worker.errors = failed ? worker.errors + 1 : 0;
  }
  return ended;
}

void WorkerPool::restart_ended() {
  for (Worker& worker : workers_) {
    if (worker.pid > 0) continue;
    if (worker.errors >= kMaxErrors) {
      has_given_up_ = true;
    } else {
      launch(worker);
    }
  }
}

void WorkerPool::note_progress() {
  for (Worker& worker : workers_) worker.errors = 0;
}

void WorkerPool::signal_all(int signal) const {
  for (const Worker& worker : workers_) {
    if (worker.pid > 0) kill(worker.pid, signal);
  }
}

// True if no worker is left. patience_ms < 0: waits as long as it takes.
bool WorkerPool::reap(int patience_ms) {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::milliseconds(patience_ms);
  for (;;) {
    bool any = false;
    for (Worker& worker : workers_) {
      if (worker.pid <= 0) continue;
      if (waitpid(worker.pid, nullptr, WNOHANG) == 0) {
        any = true;
      } else {
        worker.pid = -1;
      }
    }
    if (!any) return true;
    if (patience_ms >= 0 && std::chrono::steady_clock::now() >= give_up) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

void WorkerPool::finish(int patience_ms) { finish(patience_ms, kKillAfterMs); }

void WorkerPool::finish_soon() { finish(0, kKillSoonMs); }

void WorkerPool::finish(int patience_ms, int kill_after_ms) {
  if (reap(patience_ms)) return;
  signal_all(SIGTERM);
  if (reap(kill_after_ms)) return;
  signal_all(SIGKILL);
  reap(-1);
}

}  // namespace nibble::autoq
