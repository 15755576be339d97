#include "nibble/cli/environment.h"

#include <unistd.h>

#include <cstdlib>
#include <string>
#include <string_view>

namespace nibble::cli {
namespace {

constexpr const char* kVariables[] = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"};
constexpr const char* kMark = "NIBBLE_STARTED_ANEW";  // so that a failure to set them cannot loop

// One thread: a trial gives the same bytes on every machine, and a search runs one worker per core.
std::string requested_threads(int argc, char** argv) {
  constexpr std::string_view option = "--threads";
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    std::string_view value;
    if (argument == option && i + 1 < argc) value = argv[i + 1];
    if (argument.starts_with("--threads=")) value = argument.substr(option.size() + 1);
    const bool is_count = !value.empty() && value.size() <= 4 && value.find_first_not_of("0123456789") == value.npos;
    if (is_count && value.front() != '0') return std::string(value);
  }
  return "1";
}

}  // namespace

void settle_thread_counts(int argc, char** argv) {
  bool missing = false;
  for (const char* name : kVariables) missing = missing || std::getenv(name) == nullptr;
  if (!missing || std::getenv(kMark) != nullptr) return;
  const std::string threads = requested_threads(argc, argv);
  for (const char* name : kVariables) setenv(name, threads.c_str(), 0);
  setenv(kMark, "1", 1);
  execv("/proc/self/exe", argv);
}

}  // namespace nibble::cli
