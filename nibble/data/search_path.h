// nibble/data/search_path.h
// The folders in which data sets are looked for, in order:
//   1. $NIBBLE_DATA_DIR
//   2. ../shared/data beside the working directory, beside the repository that holds it, and
//      beside the repository from which the program was built
//   3. the user's cache: $XDG_CACHE_HOME/nibble, else ~/.cache/nibble; downloads go there
#pragma once

#include <filesystem>
#include <vector>

namespace nibble::data {

// $XDG_CACHE_HOME/nibble, else $HOME/.cache/nibble; empty if neither variable is set.
std::filesystem::path default_cache_dir();

// The list above, without folders that do not exist and without repetitions.
//   cache_dir  stands for the user's cache; may be empty
std::vector<std::filesystem::path> data_search_path(const std::filesystem::path& cache_dir);

}  // namespace nibble::data
