#include "nibble/core/child_program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string_view>

#include "nibble/core/error.h"

namespace nibble {
namespace fs = std::filesystem;
namespace {

std::vector<std::string> changed_environment(std::vector<std::string> settings) {
  const auto name_of = [](std::string_view entry) { return entry.substr(0, entry.find('=') + 1); };
  const size_t count = settings.size();
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const bool is_replaced =
        std::any_of(settings.begin(), settings.begin() + static_cast<std::ptrdiff_t>(count),
                    [&](const std::string& setting) { return name_of(*entry) == name_of(setting); });
    if (!is_replaced) settings.emplace_back(*entry);
  }
  return settings;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
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

std::string last_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line, last;
  while (std::getline(file, line)) {
    if (!line.empty()) last = line;
  }
  return last;
}

}  // namespace

pid_t run_this_program(std::vector<std::string> arguments, std::vector<std::string> environment, const fs::path& log) {
  // The link and not the path behind it: a file put there since, by an update, may be another version. The path is
  // what command lines show.
  constexpr const char* kThisProgram = "/proc/self/exe";
  arguments.insert(arguments.begin(), fs::read_symlink(kThisProgram).string());
  environment = changed_environment(std::move(environment));
  const std::vector<char*> argv = pointers_to(arguments), envp = pointers_to(environment);
  const int output = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (output < 0) throw IoError("[start] cannot write '{}': {}.", log.string(), std::strerror(errno));
  const pid_t parent = getpid();
  // Until the program runs, the child has this process' signal handlers: one of them would take a stop for its own, and
  // the child would never hear of it.
  const SignalsHeld held;
  const pid_t pid = fork();
  if (pid == 0) {
    // Only calls that are safe between fork and exec.
    held.release_with_defaults();
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(1);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    execve(kThisProgram, argv.data(), envp.data());
    _exit(127);
  }
  const int reason = errno;
  close(output);
  if (pid < 0) throw IoError("[start] cannot start a worker process: {}.", std::strerror(reason));
  return pid;
}

std::string how_it_ended(int status, const fs::path& log) {
  const std::string how = WIFSIGNALED(status) ? fmt::format("was ended by signal {}", WTERMSIG(status))
                                              : fmt::format("ended with exit code {}", WEXITSTATUS(status));
  const std::string line = last_line(log);
  if (line.empty()) return how + ".";
  const bool is_sentence = std::string_view(".?!").find(line.back()) != std::string_view::npos;
  return fmt::format("{}; its last line is: {}{}", how, line, is_sentence ? "" : ".");
}

}  // namespace nibble
