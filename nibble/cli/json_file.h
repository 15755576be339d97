// nibble/cli/json_file.h
// JSON files given on the command line.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

namespace nibble::cli {

//   throws  IoError if it cannot be read; CorruptFile with line and column if it is not JSON; InvalidArgument if a key
//           stands twice
nlohmann::json read_json(const std::filesystem::path& path);

// Indented, atomically. throws IoError
void write_json(const std::filesystem::path& path, const nlohmann::json& value);

}  // namespace nibble::cli
