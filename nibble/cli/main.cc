// nibble: the command line. The table of commands is in command_table.cc.
#include <unistd.h>

#include <iostream>

#include "nibble/cli/command.h"
#include "nibble/cli/environment.h"

int main(int argc, char** argv) {
  const nibble::cli::Command* command = argc > 1 ? nibble::cli::find_command(argv[1]) : nullptr;
  if (command != nullptr && command->computes) nibble::cli::settle_thread_counts(argc, argv);
  nibble::cli::Streams streams{std::cout, std::cerr, isatty(STDERR_FILENO) == 1};
  return nibble::cli::run_command_line(argc, argv, streams);
}
