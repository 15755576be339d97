#include "nibble/autoq/worker_pool.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <iterator>
#include <thread>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/search/study_url.h"

namespace nibble::autoq {
namespace fs = std::filesystem;
namespace {

constexpr int kKillAfterMs = 20'000;
constexpr int kKillSoonMs = 5'000;  // after an exception, which someone waits to read
constexpr int kMaxErrors = 2;       // of one worker, in a row

fs::path log_path(const fs::path& directory, int k) { return directory / "logs" / fmt::format("worker-{}.log", k); }

// The environment of a worker: ours, with one thread for each math library. They read it while they are loaded, so
// a worker could not set it itself.
std::vector<std::string> worker_environment() {
  const std::vector<std::string> settings = {"OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1", "MKL_NUM_THREADS=1"};
  std::vector<std::string> result = settings;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const bool replaced = std::any_of(settings.begin(), settings.end(), [&](const std::string& setting) {
      return text.substr(0, text.find('=') + 1) == std::string_view(setting).substr(0, setting.find('=') + 1);
    });
    if (!replaced) result.emplace_back(text);
  }
  return result;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// What follows the program's name. A study in a file has its trials beside it; one on a server must be told where.
std::vector<std::string> worker_arguments(const std::string& study, const fs::path& directory) {
  if (!search::is_server_url(study)) return {"worker", "--study", fs::absolute(search::sqlite_path(study)).string()};
  return {"worker", "--study", study, "--output", fs::absolute(directory).string()};
}

// SIGINT and SIGTERM wait while it lives.
class SignalsHeld {
 public:
  SignalsHeld() {
    sigset_t stops;
    sigemptyset(&stops);
    for (const int signal : kStops) sigaddset(&stops, signal);
    pthread_sigmask(SIG_BLOCK, &stops, &before_);
  }
  ~SignalsHeld() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsHeld(const SignalsHeld&) = delete;
  SignalsHeld& operator=(const SignalsHeld&) = delete;

  // In a child: what has come ends it.
  void release_with_defaults() const {
    for (const int signal : kStops) ::signal(signal, SIG_DFL);
    sigprocmask(SIG_SETMASK, &before_, nullptr);
  }

 private:
  static constexpr int kStops[] = {SIGINT, SIGTERM};
  sigset_t before_;
};

pid_t run_this_program(std::vector<std::string> arguments, const fs::path& log) {
  // The link and not the path behind it: a file put there since, by an update, may be another version. The path is
  // what command lines show.
  constexpr const char* kThisProgram = "/proc/self/exe";
  arguments.insert(arguments.begin(), fs::read_symlink(kThisProgram).string());
  std::vector<std::string> environment = worker_environment();
  const std::vector<char*> argv = pointers_to(arguments), envp = pointers_to(environment);
  const int output = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (output < 0) throw IoError("[autoq] cannot write '{}': {}.", log.string(), std::strerror(errno));
  const pid_t launcher = getpid();
  // Until the program runs, the child has this process' signal handlers: one of them would take a stop for its own, and
  // the worker would never hear of it.
  const SignalsHeld held;
  const pid_t pid = fork();
  if (pid == 0) {
    // Only calls that are safe between fork and exec.
    held.release_with_defaults();
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != launcher) _exit(1);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    execve(kThisProgram, argv.data(), envp.data());
    _exit(127);
  }
  const int reason = errno;
  close(output);
  if (pid < 0) throw IoError("[autoq] cannot start a worker process: {}.", std::strerror(reason));
  return pid;
}

std::string last_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line, last;
  while (std::getline(file, line)) {
    if (!line.empty()) last = line;
  }
  return last;
}

}  // namespace

WorkerPool::WorkerPool(SpawnWorker spawn, fs::path directory, std::string study)
    : spawn_(std::move(spawn)), directory_(std::move(directory)), study_(std::move(study)) {
  make_directories(directory_ / "logs");
}

WorkerPool::~WorkerPool() { finish(0, kKillSoonMs); }

void WorkerPool::start(int count) {
  for (int k = 0; k < count; ++k) {
    workers_.push_back({.k = k});
    launch(workers_.back());
  }
}

void WorkerPool::launch(Worker& worker) {
  const std::vector<std::string> arguments = worker_arguments(study_, directory_);
  worker.pid = spawn_ ? spawn_(worker.k, arguments[2]) : run_this_program(arguments, log_path(directory_, worker.k));
}

std::string WorkerPool::words_of(const Worker& worker, int status) const {
  const std::string how = WIFSIGNALED(status) ? fmt::format("was ended by signal {}", WTERMSIG(status))
                                              : fmt::format("ended with exit code {}", WEXITSTATUS(status));
  const std::string line = last_line(log_path(directory_, worker.k));
  if (line.empty()) return fmt::format("worker {} {}.", worker.k, how);
  const bool is_sentence = std::string_view(".?!").find(line.back()) != std::string_view::npos;
  return fmt::format("worker {} {}; its last line is: {}{}", worker.k, how, line, is_sentence ? "" : ".");
}

int WorkerPool::replace_ended() {
  int ended = 0;
  for (Worker& worker : workers_) {
    int status = 0;
    if (worker.pid <= 0 || waitpid(worker.pid, &status, WNOHANG) != worker.pid) continue;
    last_words_ = words_of(worker, status);
    worker.pid = -1;
    ++ended;
    const bool failed = WIFEXITED(status) && WEXITSTATUS(status) != 0;
    worker.errors = failed ? worker.errors + 1 : 0;
    if (worker.errors >= kMaxErrors) {
      has_given_up_ = true;
    } else {
      launch(worker);
    }
  }
  return ended;
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

void WorkerPool::finish(int patience_ms, int kill_after_ms) {
  if (reap(patience_ms)) return;
  signal_all(SIGTERM);
  if (reap(kill_after_ms)) return;
  signal_all(SIGKILL);
  reap(-1);
}

}  // namespace nibble::autoq
