#include "nibble/cli/study_argument.h"

#include <algorithm>

#include "nibble/core/error.h"
#include "nibble/search/storage.h"
#include "nibble/search/study_url.h"

namespace nibble::cli {

namespace fs = std::filesystem;

std::string study_url(const std::string& argument) {
  std::error_code ignored;
  if (!fs::is_directory(argument, ignored)) return argument;
  const fs::path file = fs::path(argument) / "study.db";
  if (!fs::exists(file, ignored)) {
    if (const std::vector<std::string> blocks = block_studies(argument); !blocks.empty()) {
      throw IoError(
          "'{}' is a search by blocks, each of which is a study of its own: give one of {} ('nibble study show {}' "
          "shows their best trials).",
          argument, fmt::join(blocks, ", "), argument);
    }
    if (fs::exists(fs::path(argument) / "scheduler.json", ignored)) {
      throw IoError(
          "'{}' is a search by blocks whose studies are not in it. Where they are on a server, 'nibble study show' "
          "takes "
          "the URL that its --study was.",
          argument);
    }
    throw IoError("the folder '{}' holds no study.db; 'nibble study list {}' looks in the folders inside it too.",
                  argument, argument);
  }
  return file.string();
}

namespace {

std::vector<std::string> blocks_on_server(const std::string& url) {
  std::vector<std::string> blocks;
  if (search::Storage::holds_study(url)) return blocks;
  const std::string name = search::parse_server_url(url).study;
  for (int k = 0;; ++k) {
    std::string block = search::with_study(url, fmt::format("{}-{}", name, k));  // as autoq::options_of_block
    if (!search::Storage::holds_study(block)) return blocks;
    blocks.push_back(std::move(block));
  }
}

}  // namespace

std::vector<std::string> block_studies(const std::string& argument) {
  if (search::is_server_url(argument)) return blocks_on_server(argument);
  const fs::path folder = argument;
  std::vector<std::string> blocks;
  std::error_code ignored;
  // A folder of numbered studies that a person made has no configuration beside them.
  if (fs::exists(folder / "study.db", ignored) || !fs::exists(folder / "run_config.json", ignored)) return blocks;
  for (int k = 0; fs::exists(folder / std::to_string(k) / "study.db", ignored); ++k) {
    blocks.push_back((folder / std::to_string(k)).string());
  }
  return blocks;
}

std::vector<std::string> find_studies(const std::vector<std::string>& places) {
  std::vector<std::string> found;
  const auto add_if_there = [&](const fs::path& folder) {
    std::error_code ignored;
    if (fs::is_regular_file(folder / "study.db", ignored)) found.push_back((folder / "study.db").string());
  };
  for (const std::string& folder : places) {
    if (search::is_server_url(folder)) {
      for (const std::string& name : search::Storage::studies_on(folder)) {
        found.push_back(search::with_study(folder, name));
      }
      continue;
    }
    std::error_code error;
    search::sqlite_path(folder);  // refuses what is the URL of another database
    fs::directory_iterator entries(folder, fs::directory_options::skip_permission_denied, error);
    if (error) throw IoError("cannot read the folder '{}': {}.", folder, error.message());
    add_if_there(folder);
    for (const auto& entry : entries) {
      if (!entry.is_directory(error)) continue;
      add_if_there(entry.path());
      for (const std::string& block : block_studies(entry.path().string())) add_if_there(block);
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::string shown_study(const std::string& url) {
  return search::is_server_url(url) ? search::parse_server_url(url).display : url;
}

}  // namespace nibble::cli
