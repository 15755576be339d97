#include "nibble/cli/study_argument.h"

#include <algorithm>

#include "nibble/core/error.h"

namespace nibble::cli {

namespace fs = std::filesystem;

std::string study_url(const std::string& argument) {
  std::error_code ignored;
  if (!fs::is_directory(argument, ignored)) return argument;
  const fs::path file = fs::path(argument) / "study.db";
  if (!fs::exists(file, ignored)) {
    throw IoError("the folder '{}' holds no study.db; 'nibble study list {}' looks in the folders inside it too.",
                  argument, argument);
  }
  return file.string();
}

std::vector<fs::path> find_studies(const std::vector<std::string>& folders) {
  std::vector<fs::path> found;
  const auto add_if_there = [&](const fs::path& folder) {
    std::error_code ignored;
    if (fs::is_regular_file(folder / "study.db", ignored)) found.push_back(folder / "study.db");
  };
  for (const std::string& folder : folders) {
    std::error_code error;
    fs::directory_iterator entries(folder, fs::directory_options::skip_permission_denied, error);
    if (error) throw IoError("cannot read the folder '{}': {}.", folder, error.message());
    add_if_there(folder);
    for (const auto& entry : entries) {
      if (entry.is_directory(error)) add_if_there(entry.path());
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace nibble::cli
