// tests/support/event_reader.h
// TensorBoard's event files as tests/read_events.py reads them.
#pragma once

#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

namespace nibble::testing {

// All events of all runs below the directory: {"run", "step", "wall_time", "version" or "scalars"}.
//   script   NIBBLE_SOURCE_DIR/tests/read_events.py
//   throws   std::runtime_error if a checksum is wrong or a record is cut off
inline nlohmann::json read_events(const std::string& script, const std::filesystem::path& directory) {
  const std::string command = "python3 '" + script + "' '" + directory.string() + "' 2>&1";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::string text;
  for (int c = fgetc(pipe.get()); c != EOF; c = fgetc(pipe.get())) text += static_cast<char>(c);
  nlohmann::json events = nlohmann::json::array();
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = text.find('\n', at);
    const auto event = nlohmann::json::parse(text.substr(at, end - at), nullptr, false);
    if (event.is_discarded()) throw std::runtime_error(text);
    events.push_back(event);
    at = end == std::string::npos ? text.size() : end + 1;
  }
  return events;
}

}  // namespace nibble::testing
