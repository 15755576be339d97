#include "nibble/cli/study_argument.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/search/storage.h"
#include "nibble/search/study_url.h"

namespace nibble::cli {

namespace fs = std::filesystem;

namespace {

std::string named(const std::vector<BlockStudy>& blocks) {
  std::vector<std::string> names;
  for (const BlockStudy& block : blocks) names.push_back(shown_study(block.study));
  return fmt::format("{}", fmt::join(names, ", "));
}

void refuse_blocks(const std::string& argument) {
  const std::vector<BlockStudy> blocks = block_studies(argument);
  if (blocks.empty()) return;
  throw IoError(
      "'{}' is a search by blocks, each of which is a study of its own: give one of {} ('nibble study show {}' "
      "shows their best trials).",
      shown_study(argument), named(blocks), shown_study(argument));
}

}  // namespace

bool is_schedule(const std::string& folder) {
  const fs::path file = fs::path(folder) / "run_config.json";
  std::error_code ignored;
  if (fs::exists(fs::path(folder) / "study.db", ignored) || !fs::is_regular_file(file, ignored)) return false;
  constexpr uint64_t kLargest = uint64_t{16} << 20;
  const auto config = nlohmann::json::parse(read_file(file, kLargest), nullptr, /*allow_exceptions=*/false,
                                            /*ignore_comments=*/true);
  return config.is_object() && config.contains("blocks") && config.at("blocks").is_array();
}

std::string study_url(const std::string& argument) {
  std::error_code ignored;
  if (search::is_server_url(argument)) refuse_blocks(argument);
  if (!fs::is_directory(argument, ignored)) return argument;
  const fs::path file = fs::path(argument) / "study.db";
  if (!fs::exists(file, ignored)) {
    refuse_blocks(argument);
    if (is_schedule(argument)) {
      throw IoError(
          "'{}' is a search by blocks whose studies are not in it. Where they are on a server, 'nibble study show' "
          "takes the URL that its --study was; where they were deleted, 'nibble study delete {}' removes the rest.",
          argument, argument);
    }
    throw IoError("the folder '{}' holds no study.db; 'nibble study list {}' looks in the folders inside it too.",
                  argument, argument);
  }
  return file.string();
}

namespace {

// A block's number as autoq::options_of_block writes it. Longer ones are somebody's years or dates.
std::optional<int> block_number(std::string_view text) {
  constexpr size_t kMostDigits = 3;
  const bool is_plain = std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (text.empty() || text.size() > kMostDigits || !is_plain || (text.size() > 1 && text[0] == '0'))
    return std::nullopt;
  int number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

std::vector<BlockStudy> blocks_on_server(const std::string& url) {
  std::vector<BlockStudy> blocks;
  if (search::Storage::holds_study(url)) return blocks;
  const std::string begin = search::parse_server_url(url).study + "-";
  for (const std::string& name : search::Storage::studies_on(url)) {
    if (!name.starts_with(begin)) continue;
    const auto number = block_number(std::string_view(name).substr(begin.size()));
    if (number) blocks.push_back({*number, search::with_study(url, name)});
  }
  return blocks;
}

std::vector<BlockStudy> blocks_in(const fs::path& folder) {
  std::vector<BlockStudy> blocks;
  std::error_code ignored;
  // A folder of numbered studies that a person made has no configuration beside them.
  if (fs::exists(folder / "study.db", ignored) || !fs::exists(folder / "run_config.json", ignored)) return blocks;
  for (const auto& entry : fs::directory_iterator(folder, fs::directory_options::skip_permission_denied, ignored)) {
    const auto number = block_number(entry.path().filename().string());
    if (number && fs::exists(entry.path() / "study.db", ignored)) blocks.push_back({*number, entry.path().string()});
  }
  return blocks;
}

}  // namespace

std::vector<BlockStudy> block_studies(const std::string& argument) {
  std::vector<BlockStudy> blocks = search::is_server_url(argument) ? blocks_on_server(argument) : blocks_in(argument);
  std::sort(blocks.begin(), blocks.end(), [](const auto& a, const auto& b) { return a.block < b.block; });
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
      for (const BlockStudy& block : block_studies(entry.path().string())) add_if_there(block.study);
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::string shown_study(const std::string& url) {
  return search::is_server_url(url) ? search::parse_server_url(url).display : url;
}

}  // namespace nibble::cli
