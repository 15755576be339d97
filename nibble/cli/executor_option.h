// nibble/cli/executor_option.h
// --executor: who runs an integer program.
#pragma once

#include <memory>
#include <string>

#include "nibble/cli/command.h"
#include "nibble/program/executor.h"

namespace nibble::cli {

struct ExecutorOption {
  std::string name = "fast";
};

void add_executor_option(CLI::App& app, ExecutorOption& option);

// The program has to stay.
//   keep_results  the integers of every operation are asked for
std::unique_ptr<program::Runner> make_runner(const program::Program& program, const ExecutorOption& option,
                                             bool keep_results = false);

}  // namespace nibble::cli
