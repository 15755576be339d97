// nibble/cli/stop_signal.h
// Ctrl-C asks long work to stop; it saves what it has and says how to go on.
#pragma once

#include <atomic>

namespace nibble::cli {

// Set by SIGINT and SIGTERM once listen_for_stop() was called. The same signal again ends the process at once, SIGTERM
// from two seconds after the first on.
const std::atomic<bool>& stop_requested();

// What the first signal answers on standard error.
enum class StopNotice {
  kAfterStep,  // that the step is finished first, and how to stop at once
  kNone        // nothing: there is nothing to finish
};

void listen_for_stop(StopNotice notice = StopNotice::kAfterStep);

}  // namespace nibble::cli
