// nibble/cli/study_blocks.h
// 'nibble study show' of a search by blocks: one row a block that was begun.
#pragma once

#include <filesystem>
#include <vector>

#include "nibble/cli/command.h"

namespace nibble::cli {

//   folder  of the search
//   blocks  the folders of its blocks' studies, in the order that they are searched in (study_argument.h)
//   throws  as Storage::open
int show_blocks(const std::filesystem::path& folder, const std::vector<std::filesystem::path>& blocks, bool as_json,
                Streams& streams);

}  // namespace nibble::cli
