// nibble/search/code_version.h
// Which nibble this is. A study keeps it, so that workers of other code are told apart.
#pragma once

#include <string>

namespace nibble::search {

// The commit that the program was built from: its first 12 digits, with "+changes" where files of the program differed
// from it. Empty if it was not built in a clone of the repository.
std::string build_commit();

// "nibble 0.1.0, commit 1b2c3d4e5f60+changes"; without a commit "nibble 0.1.0".
std::string code_version();

}  // namespace nibble::search
