// tests/support/busy_machine.h
// For tests that watch, stop or kill what goes on beside them: on a machine that is busy with other things, either side
// may stand still for seconds while the other does all of its work.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace nibble::testing {

// Over only where something hangs.
constexpr std::chrono::minutes kPatience{5};

// Waits until the condition holds; false if it does not in all that time.
template <class Condition>
bool eventually(const Condition& condition) {
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    const bool is_late = std::chrono::steady_clock::now() >= give_up;  // before the look, which may come late itself
    if (condition()) return true;
    if (is_late) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

// A moment, such as the middle of a trial, may be over before the test gets to act in it. `attempt` is called with
// 0, 1, ... (for a fresh directory each) until it returns that it came in time; false if it never does, or has failed.
template <class Attempt>
bool is_caught(const Attempt& attempt) {
  constexpr int kMostAttempts = 20;
  for (int number = 0; number < kMostAttempts && !::testing::Test::HasFailure(); ++number) {
    if (attempt(number)) return true;
  }
  return false;
}

}  // namespace nibble::testing
