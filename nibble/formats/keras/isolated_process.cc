#include "nibble/formats/keras/isolated_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "nibble/core/error.h"

namespace nibble::formats::keras {
namespace {

constexpr int kSilence_ms = 30'000;

bool send_all(int socket, const void* data, size_t size) {
  const char* next = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t sent = send(socket, next, size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    next += sent;
    size -= static_cast<size_t>(sent);
  }
  return true;
}

// False at the end of the stream, or after `silence_ms` without a byte (-1: waits for ever).
bool receive_all(int socket, void* data, size_t size, int silence_ms) {
  char* next = static_cast<char*>(data);
  while (size > 0) {
    pollfd ready = {.fd = socket, .events = POLLIN, .revents = 0};
    const int polled = poll(&ready, 1, silence_ms);
    if (polled < 0 && errno == EINTR) continue;
    if (polled <= 0) return false;
    const ssize_t got = recv(socket, next, size, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    next += got;
    size -= static_cast<size_t>(got);
  }
  return true;
}

bool send_message(int socket, std::string_view message) {
  const uint64_t size = message.size();
  return send_all(socket, &size, sizeof size) && send_all(socket, message.data(), message.size());
}

// False also for more than `largest` bytes: a length from the other side is believed only so far.
bool receive_message(int socket, std::string& message, uint64_t largest, int silence_ms) {
  uint64_t size = 0;
  if (!receive_all(socket, &size, sizeof size, silence_ms) || size > largest) return false;
  message.resize(size);
  return receive_all(socket, message.data(), size, silence_ms);
}

void lower_limit(int resource, uint64_t value) {
  rlimit limit;
  if (getrlimit(resource, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max = std::min<rlim_t>(value, limit.rlim_cur);
  setrlimit(resource, &limit);
}

void limit_memory([[maybe_unused]] uint64_t bytes) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  const int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (file < 0) return;  // without /proc nothing says what the child has already
  char text[128] = {};
  const ssize_t got = read(file, text, sizeof text - 1);
  close(file);
  const uint64_t pages = got > 0 ? std::strtoull(text, nullptr, 10) : 0;
  if (pages > 0) lower_limit(RLIMIT_AS, pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) + bytes);
#endif
}

// A crash should be quiet: no core file, no handler of the program, no message of the C library.
void prepare_child(pid_t parent, const IsolatedProcess::Limits& limits) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);   // in an endless loop it would not see its socket close
  if (getppid() != parent) _exit(1);  // the parent died before the line above
  lower_limit(RLIMIT_CORE, 0);
  lower_limit(RLIMIT_CPU, limits.cpu_s);
  limit_memory(limits.memory_bytes);
  for (int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTERM, SIGXCPU}) signal(number, SIG_DFL);
  signal(SIGINT, SIG_IGN);  // Ctrl-C is the parent's; the child ends with its socket
  const int silent = open("/dev/null", O_WRONLY);
  if (silent >= 0) dup2(silent, STDERR_FILENO);
}

[[noreturn]] void run_child(int socket, const std::function<IsolatedProcess::Serve()>& start) {
  const IsolatedProcess::Serve serve = start();
  std::string request;
  while (receive_message(socket, request, UINT64_MAX, -1)) {  // the parent is trusted
    if (!send_message(socket, serve(request))) break;
  }
  _exit(0);  // no destructors: they are the parent's
}

}  // namespace

IsolatedProcess::IsolatedProcess(const Limits& limits, const std::function<Serve()>& start) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    throw IoError("[keras] cannot open a socket to a reading process: {}.", std::strerror(errno));
  }
  const pid_t parent = getpid();
  child_ = fork();
  if (child_ == 0) {
    close(ends[0]);
    prepare_child(parent, limits);
    run_child(ends[1], start);
  }
  const int reason = errno;
  close(ends[1]);
  socket_ = ends[0];
  if (child_ < 0) {
    close(socket_);
    throw IoError("[keras] cannot start a process to read the file in: {}.", std::strerror(reason));
  }
}

IsolatedProcess::~IsolatedProcess() { end(); }

void IsolatedProcess::end() {
  if (socket_ < 0) return;
  close(std::exchange(socket_, -1));
  kill(child_, SIGKILL);  // it may be in an endless loop
  while (waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

std::optional<std::string> IsolatedProcess::call(std::string_view request, uint64_t largest_answer) {
  std::string answer;
  if (socket_ >= 0 && send_message(socket_, request) && receive_message(socket_, answer, largest_answer, kSilence_ms)) {
    return answer;
  }
  end();
  return std::nullopt;
}

}  // namespace nibble::formats::keras
