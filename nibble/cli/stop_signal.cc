#include "nibble/cli/stop_signal.h"

#include <unistd.h>
#include <csignal>

#include "nibble/cli/command.h"

namespace nibble::cli {
namespace {

std::atomic<bool> stop{false};
std::atomic<bool> says_so{true};
std::atomic<int> first_signal{0};
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free,
              "a signal handler may touch lock-free atomics only");

void on_signal(int number) {
  if (stop.exchange(true)) {
    // Ctrl-C reaches a worker twice, from the terminal and as SIGTERM from its launcher: that is one wish.
    if (number == first_signal) _exit(kInterrupted);
    return;
  }
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
