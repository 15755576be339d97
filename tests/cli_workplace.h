// tests/cli_workplace.h
// The program as its users meet it: arguments in; exit code, stdout, stderr and files out.
#pragma once

#include <filesystem>
#include <string>

#include "child_process.h"

namespace nibble::testing {

struct CliResult {
  int code = -1;
  std::string out, err;
};

// The nibble that was built, or $NIBBLE_BINARY.
std::string program();

std::string slurp(const std::filesystem::path& path);
void spill(const std::filesystem::path& path, const std::string& bytes);

// A working directory with a tiny network (tiny.keras), data that it can learn (cifar10, 240
// records), configurations, and damaged files of every kind.
class Workplace {
 public:
  static Workplace& get();
  const std::filesystem::path& dir() const { return dir_; }

  // Runs the program there.
  //   line  what stands after "nibble" in a shell
  CliResult run(const std::string& line) const;

  // Starts the program there, for a test that stops it.
  ChildProcess start(const std::string& line) const;

 private:
  Workplace();
  std::filesystem::path dir_;
};

}  // namespace nibble::testing
