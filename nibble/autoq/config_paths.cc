#include "nibble/autoq/config_paths.h"

#include <fmt/format.h>

#include <algorithm>

#include "nibble/data/catalog.h"
#include "nibble/models/builtin.h"

namespace nibble::autoq {
namespace fs = std::filesystem;
namespace {

// Fields that may name files, as JSON pointers.
constexpr const char* kPathFields[] = {"/model", "/reference_model", "/teacher", "/data", "/goal/params/process"};
constexpr std::string_view kBlockModel = "model_block_";  // the rest is K.keras

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// Unless a link lies before "..", which then is not the folder that the text shows.
fs::path without_dots(const fs::path& path) {
  const fs::path shorter = path.lexically_normal();
  std::error_code ignored;
  return !is_there(path) || fs::equivalent(path, shorter, ignored) ? shorter : path;
}

// Nothing is changed where the field is absent or no text: parse_run_config() says what is wrong with it.
//   returns  whether the text was changed
bool make_absolute(Json& object, const char* key, bool (*is_name)(std::string_view)) {
  if (!object.is_object() || !object.contains(key) || !object[key].is_string()) return false;
  const std::string text = object[key];
  const bool looks_like_path = text.find_first_of("/.") != std::string::npos;
  if (is_name(text) || fs::path(text).is_absolute() || !(looks_like_path || is_there(text))) return false;
  object[key] = without_dots(fs::absolute(text)).string();
  return true;
}

bool is_dataset_name(std::string_view text) {
  const std::vector<std::string> names = data::dataset_names();
  return std::find(names.begin(), names.end(), text) != names.end();
}

bool is_no_name(std::string_view) { return false; }

bool is_process_name(std::string_view text) { return text == "horowitz"; }

}  // namespace

std::string with_absolute_paths(const std::string& run_config) {
  parse_run_config(run_config);  // a text that is written anew would hide some of its faults
  Json config = Json::parse(run_config, nullptr, true, /*ignore_comments=*/true);
  bool changed = make_absolute(config, "model", models::is_builtin);
  changed |= make_absolute(config, "reference_model", models::is_builtin);
  changed |= make_absolute(config, "teacher", is_no_name);
  changed |= make_absolute(config, "data", is_dataset_name);
  if (config.is_object() && config.contains("goal") && config["goal"].is_object() &&
      config["goal"].contains("params")) {
    changed |= make_absolute(config["goal"]["params"], "process", is_process_name);
  }
  return changed ? config.dump(2) : run_config;
}

std::string differing_path(const std::string& kept, const std::string& given) {
  const Json ours = Json::parse(kept, nullptr, true, /*ignore_comments=*/true);
  Json theirs = Json::parse(given, nullptr, true, /*ignore_comments=*/true);
  std::string sentence;
  for (const char* field : kPathFields) {
    const Json::json_pointer at(field);
    if (!ours.contains(at) || !theirs.contains(at) || ours.at(at) == theirs.at(at)) continue;
    const auto there = ours.at(at).get<std::string>(), here = theirs.at(at).get<std::string>();
    if (!fs::path(there).is_absolute()) return "";  // the name of a network or a data set
    if (sentence.empty()) {
      sentence = fmt::format(
          "RUN's {} is '{}' from here, the study's is '{}'. Run from the directory that the search was started in, or "
          "leave RUN out; with another file, start a new search in another directory.",
          at.back(), here, there);
    }
    theirs[at] = there;
  }
  return same_search(kept, theirs.dump()) ? sentence : "";
}

RunConfig config_of_study(std::string_view run_config, const fs::path& directory) {
  RunConfig config = parse_run_config(run_config);
  const fs::path name = fs::path(config.model).filename();
  const bool is_of_block = name.string().starts_with(kBlockModel) && !is_there(config.model);
  if (!is_of_block) return config;
  const fs::path moved = fs::absolute(directory.empty() ? "." : directory) / ".." / name;
  if (is_there(moved)) config.model = without_dots(moved).string();
  return config;
}

fs::path model_of_block(const fs::path& directory, int k) {
  return directory / fmt::format("{}{}.keras", kBlockModel, k);
}

}  // namespace nibble::autoq
