#include "nibble/formats/keras/isolated_process.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <new>

namespace nibble::formats::keras {
namespace {

constexpr IsolatedProcess::Limits kLimits = {.memory_bytes = 64 << 20, .cpu_s = 1};

std::string repeat(std::string_view request) { return std::string(request); }

[[noreturn]] std::string loop(std::string_view) {
  for (volatile unsigned turns = 0;;) turns = turns + 1;
}

TEST(IsolatedProcess, Answers) {
  IsolatedProcess process(kLimits, [] { return repeat; });
  EXPECT_EQ(process.call("one", 100), "one");
  EXPECT_EQ(process.call("", 100), "");
}

TEST(IsolatedProcess, CrashIsNoAnswer) {
  IsolatedProcess process(kLimits, [] { return [](std::string_view) -> std::string { std::abort(); }; });
  EXPECT_EQ(process.call("one", 100), std::nullopt);
  EXPECT_EQ(process.call("one", 100), std::nullopt);
}

TEST(IsolatedProcess, LengthAboveTheLargestIsNoAnswer) {
  IsolatedProcess process(kLimits, [] { return repeat; });
  EXPECT_EQ(process.call("four", 4), "four");
  EXPECT_EQ(process.call("fives", 4), std::nullopt);
  EXPECT_EQ(process.call("four", 4), std::nullopt) << "the child has ended";
}

TEST(IsolatedProcess, MemoryIsLimited) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers reserve terabytes of address space";
#endif
  IsolatedProcess process(kLimits, [] {
    return [](std::string_view mebibytes) {
      void* memory = std::malloc(std::stoull(std::string(mebibytes)) << 20);
      const bool given = memory != nullptr;
      std::free(memory);
      return std::string(given ? "given" : "refused");
    };
  });
  EXPECT_EQ(process.call("16", 100), "given");
  EXPECT_EQ(process.call("65", 100), "refused");
}

TEST(IsolatedProcess, TimeIsLimited) {
  IsolatedProcess process(kLimits, [] { return loop; });
  EXPECT_EQ(process.call("one", 100), std::nullopt);
}

// The child holds the writing end of a pipe, which reads as ended once the child has.
TEST(IsolatedProcess, EndsWithItsParent) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t parent = fork();
  ASSERT_GE(parent, 0);
  if (parent == 0) {
    const itimerval soon = {.it_interval = {}, .it_value = {.tv_sec = 0, .tv_usec = 100'000}};
    setitimer(ITIMER_REAL, &soon, nullptr);  // not inherited by the child; SIGALRM kills in the middle of the call
    IsolatedProcess process({.memory_bytes = 64 << 20, .cpu_s = 60}, [] { return loop; });
    process.call("one", 100);
    _exit(0);
  }
  close(ends[1]);
  pollfd ended = {.fd = ends[0], .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&ended, 1, 10'000), 1);
  EXPECT_TRUE(ended.revents & POLLHUP);
  close(ends[0]);
  int status = 0;
  waitpid(parent, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status));
}

}  // namespace
}  // namespace nibble::formats::keras
