// nibble/core/child_program.h
// This very program, started again beside itself: workers.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace nibble {

// The child is asked to end (SIGTERM) when this process ends, however it ends, and hears of a stop that came while it
// was started.
//   arguments    what follows the program's name
//   environment  "NAME=value", in the place of what this process has under that name: libraries read some of it while
//                they are loaded, so that the child could not set it itself
//   log          gets what the child prints, at its end
//   throws       IoError
pid_t run_this_program(std::vector<std::string> arguments, std::vector<std::string> environment,
                       const std::filesystem::path& log);

// How a child ended, with the last line of its log: "ended with exit code 1; its last line is: Is the disk full?"
//   status  as waitpid() gives it
std::string how_it_ended(int status, const std::filesystem::path& log);

}  // namespace nibble
