// tests/child_process.h
// The program as a process of its own that a test may disturb: signals, kill -9, a disk that is full.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace nibble::testing {

struct ProcessOptions {
  std::vector<std::string> environment = {};     // NAME=value, beside those of this process
  std::optional<uint64_t> largest_file_bytes{};  // writing beyond it fails, as on a full disk
};

// One run of a program in a process group of its own, which its children (workers) belong to as well. What is left of
// the group when this object goes is killed.
class ChildProcess {
 public:
  // Starts it; stdout and stderr go to files in a scratch directory.
  ChildProcess(const std::string& program, const std::vector<std::string>& arguments,
               const ProcessOptions& options = {});
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  bool is_running();
  // The exit code; 128 + number if a signal ended it. What hangs is killed with its group after ten minutes: -1.
  int wait();

  pid_t pid() const { return pid_; }

  void signal(int number) const;        // to the program alone
  void signal_group(int number) const;  // to its workers too, as Ctrl-C on a terminal

  std::string out() const;
  std::string err() const;

 private:
  std::filesystem::path folder_;
  pid_t pid_ = -1;
  std::optional<int> code_;
};

}  // namespace nibble::testing
