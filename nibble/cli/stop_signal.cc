#include "nibble/cli/stop_signal.h"

#include <time.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>

#include "nibble/cli/command.h"

namespace nibble::cli {
namespace {

std::atomic<bool> stop{false};
std::atomic<bool> says_so{true};
std::atomic<int> first_signal{0};
std::atomic<int64_t> first_ms{0};
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free &&
                  std::atomic<int64_t>::is_always_lock_free,
              "a signal handler may touch lock-free atomics only");

constexpr int64_t kOneWishMs = 2'000;

int64_t now_ms() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000 + now.tv_nsec / 1'000'000;
}

// One wish may reach a worker twice: Ctrl-C from the terminal, and as SIGTERM from its launcher; or SIGTERM from a job
// scheduler that tells every process, and again from its launcher, which no person sends twice so soon.
bool is_same_wish(int number) {
  return number != first_signal || (number == SIGTERM && now_ms() - first_ms < kOneWishMs);
}

void on_signal(int number) {
  if (stop.exchange(true)) {
    if (!is_same_wish(number)) _exit(kInterrupted);
    return;
  }
  first_ms = now_ms();
  first_signal = number;
  if (!says_so) return;
  constexpr char kText[] = "\nstopping after this step; press Ctrl-C again to stop at once\n";
  // Nothing can be done if standard error is gone.
  [[maybe_unused]] const auto written = write(STDERR_FILENO, kText, sizeof kText - 1);
}

}  // namespace

const std::atomic<bool>& stop_requested() { return stop; }

void listen_for_stop(StopNotice notice) {
  says_so = notice == StopNotice::kAfterStep;
  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  sigaddset(&action.sa_mask, SIGINT);  // one handler at a time
  sigaddset(&action.sa_mask, SIGTERM);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

}  // namespace nibble::cli
