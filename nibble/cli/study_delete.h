// nibble study delete: a study, or a search by blocks with all of its studies.
#pragma once

#include <string>

#include "nibble/cli/command.h"

namespace nibble::cli {

struct DeleteOptions {
  std::string study;
  bool yes = false;
  bool json = false;
};
int run_delete(const DeleteOptions& o, Streams& streams);

}  // namespace nibble::cli
