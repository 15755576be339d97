#include "nibble/train/process_settings.h"

#include <nlohmann/json.hpp>
#include <set>
#include <vector>

namespace nibble::train {
namespace {

std::string told(const Settings& settings, const std::string& name) {
  const auto found = settings.find(name);
  return found == settings.end() ? "no " + name : name + " " + found->second;
}

std::string to_text(const Settings& settings) {
  return nlohmann::json(settings).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// Nothing where it is not what to_text() gives: another nibble wrote it.
Settings from_text(const std::string& text) {
  try {
    return nlohmann::json::parse(text).get<Settings>();
  } catch (const nlohmann::json::exception&) {
    return {};
  }
}

}  // namespace

std::string settings_difference(std::span<const Settings> of_processes) {
  constexpr size_t kMost = 4;
  std::vector<std::string> differences;
  for (size_t rank = 1; rank < of_processes.size(); ++rank) {
    const Settings &first = of_processes[0], &own = of_processes[rank];
    std::set<std::string> names;
    for (const auto& [name, value] : first) names.insert(name);
    for (const auto& [name, value] : own) names.insert(name);
    std::vector<std::string> here, there;
    for (const std::string& name : names) {
      if (told(own, name) == told(first, name)) continue;
      here.push_back(told(own, name));
      there.push_back(told(first, name));
    }
    if (here.empty()) continue;
    differences.push_back(
        fmt::format("process {} has {}, where process 0 has {}", rank, fmt::join(here, ", "), fmt::join(there, ", ")));
  }
  const size_t more = differences.size() > kMost ? differences.size() - kMost : 0;
  differences.resize(differences.size() - more);
  if (more > 0) differences.push_back(fmt::format("so do {} more", more));
  return fmt::format("{}", fmt::join(differences, "; "));
}

void require_equal_settings(ProcessGroup& processes, const Settings& own) {
  std::vector<Settings> all;
  for (const std::string& text : processes.gather(to_text(own))) all.push_back(from_text(text));
  const std::string difference = settings_difference(all);
  if (difference.empty()) return;
  throw InvalidArgument(
      "[data-parallel] the processes do not train the same: {}. Start all of them with the same nibble, command and "
      "data.",
      difference);
}

}  // namespace nibble::train
