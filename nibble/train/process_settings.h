// nibble/train/process_settings.h
// What must be equal in all processes that train together: else each trains something else, or waits for sums of
// another size.
#pragma once

#include <map>
#include <span>
#include <string>

#include "nibble/train/process_group.h"

namespace nibble::train {

// Name -> value: {"batch size", "128"}; a digest where the value is long.
using Settings = std::map<std::string, std::string>;

// "process 1 has batch size 64, where process 0 has batch size 128"; empty where all are equal.
//   of_processes  in the order of ranks
std::string settings_difference(std::span<const Settings> of_processes);

// Compares the settings of all processes, each of which gives its own.
//   throws  InvalidArgument with the difference, the same in each of them; ProcessLost
void require_equal_settings(ProcessGroup& processes, const Settings& own);

}  // namespace nibble::train
