#include "nibble/cli/worker_processes.h"

#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <thread>

#include "nibble/cli/command.h"
#include "nibble/core/atomic_file.h"
#include "nibble/core/child_program.h"

namespace nibble::cli {
namespace {

namespace fs = std::filesystem;
constexpr int kKillSoonMs = 5'000;  // after an exception, which someone waits to read

// Stopped by Ctrl-C is no failure.
bool has_failed(int status) {
  if (WIFSIGNALED(status)) return true;
  return WEXITSTATUS(status) != kOk && WEXITSTATUS(status) != kInterrupted;
}

}  // namespace

WorkerProcesses::WorkerProcesses(const std::vector<std::string>& arguments, int count, int threads,
                                 const fs::path& logs) {
  make_directories(logs);
  std::vector<std::string> environment;
  for (const char* name : {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"}) {
    environment.push_back(fmt::format("{}={}", name, threads));
  }
  try {
    for (int k = 1; k <= count; ++k) {
      workers_.push_back({.log = logs / fmt::format("worker-{}.log", k)});
      std::error_code ignored;
      fs::remove(workers_.back().log, ignored);
      workers_.back().pid = run_this_program(arguments, environment, workers_.back().log);
    }
  } catch (...) {
    stop(kKillSoonMs);
    throw;
  }
}

WorkerProcesses::~WorkerProcesses() { stop(kKillSoonMs); }

int WorkerProcesses::running() {
  int count = 0;
  for (size_t k = 0; k < workers_.size(); ++k) {
    Worker& worker = workers_[k];
    if (worker.pid <= 0) continue;
    int status = 0;
    if (waitpid(worker.pid, &status, WNOHANG) == 0) {
      ++count;
      continue;
    }
    worker.pid = -1;
    if (has_failed(status) && failure_.empty()) {
      failure_ = fmt::format("worker {} {} See {}.", k + 1, how_it_ended(status, worker.log), worker.log.string());
    }
  }
  return count;
}

void WorkerProcesses::signal_all(int number) const {
  for (const Worker& worker : workers_) {
    if (worker.pid > 0) kill(worker.pid, number);
  }
}

bool WorkerProcesses::wait_for_all(int patience_ms) {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::milliseconds(patience_ms);
  while (running() > 0) {
    if (std::chrono::steady_clock::now() >= give_up) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

void WorkerProcesses::finish(int patience_ms) {
  if (!wait_for_all(patience_ms)) stop(patience_ms);
}

void WorkerProcesses::stop(int patience_ms) {
  if (running() == 0) return;
  signal_all(SIGTERM);
  if (wait_for_all(patience_ms)) return;
  signal_all(SIGKILL);
  wait_for_all(patience_ms);
}

}  // namespace nibble::cli
