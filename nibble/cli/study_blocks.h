// nibble/cli/study_blocks.h
// 'nibble study show' of a search by blocks: one row a block that is there.
#pragma once

#include <string>
#include <vector>

#include "nibble/cli/command.h"
#include "nibble/cli/study_argument.h"

namespace nibble::cli {

//   place   its folder, or its URL on a server
//   blocks  block_studies() of it (study_argument.h)
//   throws  as Storage::open
int show_blocks(const std::string& place, const std::vector<BlockStudy>& blocks, bool as_json, Streams& streams);

}  // namespace nibble::cli
