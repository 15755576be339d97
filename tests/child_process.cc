#include "child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>

#include "nibble/core/atomic_file.h"
#include "support/golden.h"

namespace nibble::testing {
namespace {

namespace fs = std::filesystem;

fs::path fresh_folder() {
  static std::atomic<int> count{0};
  return scratch_dir("process_" + std::to_string(count++));
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::string name_of(const std::string& setting) { return setting.substr(0, setting.find('=')); }

std::vector<std::string> environment_with(const std::vector<std::string>& settings) {
  std::vector<std::string> result = settings;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    bool is_replaced = false;
    for (const std::string& setting : settings) is_replaced |= name_of(setting) == name_of(*entry);
    if (!is_replaced) result.emplace_back(*entry);
  }
  return result;
}

// Limits and ignored signals are inherited by what is spawned: set here for that moment, and put back.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(std::optional<uint64_t> bytes) : is_set_(bytes.has_value()) {
    if (!is_set_) return;
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {.rlim_cur = *bytes, .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
    handler_ = ::signal(SIGXFSZ, SIG_IGN);  // write() then fails with EFBIG instead of ending the process
  }
  ~FileSizeLimit() {
    if (!is_set_) return;
    ::signal(SIGXFSZ, handler_);
    setrlimit(RLIMIT_FSIZE, &before_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  bool is_set_;
  rlimit before_ = {};
  sighandler_t handler_ = SIG_DFL;
};

}  // namespace

ChildProcess::ChildProcess(const std::string& program, const std::vector<std::string>& arguments,
                           const ProcessOptions& options)
    : folder_(fresh_folder()) {
  std::vector<std::string> words = {program};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<std::string> settings = environment_with(options.environment);

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  const std::string out = folder_ / "stdout", err = folder_ / "stderr";
  constexpr int kCreate = O_WRONLY | O_CREAT | O_TRUNC;
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, out.c_str(), kCreate, 0644);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, err.c_str(), kCreate, 0644);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
  // A shell's job in the background ignores it, and a shell script cannot undo that.
  sigset_t to_default;
  sigemptyset(&to_default);
  sigaddset(&to_default, SIGINT);
  posix_spawnattr_setsigdefault(&attributes, &to_default);
  posix_spawnattr_setpgroup(&attributes, 0);
  int failed = 0;
  {
    const FileSizeLimit limit(options.largest_file_bytes);
    failed = posix_spawn(&pid_, program.c_str(), &files, &attributes, pointers_to(words).data(),
                         pointers_to(settings).data());
  }
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (failed != 0) throw std::runtime_error("cannot start " + program);
}

ChildProcess::~ChildProcess() {
  signal_group(SIGKILL);
  if (!code_) waitpid(pid_, nullptr, 0);
}

bool ChildProcess::is_running() {
  int status = 0;
  if (!code_ && waitpid(pid_, &status, WNOHANG) == pid_) {
    code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  return !code_;
}

int ChildProcess::wait() {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(10);
  for (;;) {
    const bool is_late = std::chrono::steady_clock::now() >= give_up;  // before the look, which may come late itself
    if (!is_running()) return *code_;
    if (is_late) {
      signal_group(SIGKILL);
      return -1;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

void ChildProcess::signal(int number) const {
  if (!code_) kill(pid_, number);
}

void ChildProcess::signal_group(int number) const { kill(-pid_, number); }

std::string ChildProcess::out() const { return read_file(folder_ / "stdout", uint64_t{1} << 30); }
std::string ChildProcess::err() const { return read_file(folder_ / "stderr", uint64_t{1} << 30); }

}  // namespace nibble::testing
