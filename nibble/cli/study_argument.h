// nibble/cli/study_argument.h
// STUDY on the command line: a folder that 'nibble autoq' wrote, its study.db, or a URL.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace nibble::cli {

// What Storage::open() takes.
//   throws  IoError if a folder holds no study.db
std::string study_url(const std::string& argument);

// The study.db files in these folders and the folders right inside them, sorted.
//   throws  IoError for a folder that cannot be read
std::vector<std::filesystem::path> find_studies(const std::vector<std::string>& folders);

}  // namespace nibble::cli
