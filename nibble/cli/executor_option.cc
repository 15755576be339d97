#include "nibble/cli/executor_option.h"

#include <CLI/CLI.hpp>

#include "nibble/cli/choices.h"
#include "nibble/program/fast/fast_executor.h"

namespace nibble::cli {

void add_executor_option(CLI::App& app, ExecutorOption& option) {
  app.add_option("--executor", option.name,
                 "'fast' (vector code) or 'reference' (plain loops, the definition); the integers are the same")
      ->capture_default_str()
      ->type_name("NAME");
}

std::unique_ptr<program::Runner> make_runner(const program::Program& program, const ExecutorOption& option,
                                             bool keep_results) {
  const bool fast = choose<bool>("--executor", option.name, {{"fast", true}, {"reference", false}});
  if (!fast) return std::make_unique<program::Executor>(program);
  return std::make_unique<program::FastExecutor>(program, program::FastOptions{.keep_results = keep_results});
}

}  // namespace nibble::cli
