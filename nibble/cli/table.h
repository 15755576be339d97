// nibble/cli/table.h
// Tables and JSON on the standard output.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <ostream>
#include <string>
#include <vector>

namespace nibble::cli {

// Columns are as wide as their widest cell; cells that look like numbers are set right.
struct Table {
  std::vector<std::string> headers;
  std::vector<std::vector<std::string>> rows;  // as many cells as headers each
};
void print(const Table& table, std::ostream& out);

// Indented, and a newline at the end. Numbers that are not finite become null.
void print_json(const nlohmann::json& value, std::ostream& out);

// {"shape", "data"} would be too long for a person: "0.125", or "0.125 .. 0.5 (16)".
std::string format_scales(const std::vector<float>& scales);

}  // namespace nibble::cli
