// tests/support/golden.h
// Finds and reads recorded rows.
//
// Rows come from the folder named by NIBBLE_GOLDEN_DIR, else from the repository's copy in
// tests/golden; a file may be plain or gzip-compressed.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "nibble/core/tensor.h"

namespace nibble::testing {

std::filesystem::path golden_dir();

// golden_json("quantizers/binary") reads <dir>/quantizers/binary.json or .json.gz. A file that
// the folder lacks gives null, so that another set of rows may hold fewer files.
nlohmann::json golden_json(const std::string& name);

// The file's text, "" if the folder lacks it; for rows whose order of keys matters.
std::string golden_text(const std::string& name);

// Names (without extension) of the files of a golden sub-folder that start with `prefix`, sorted.
std::vector<std::string> golden_files(const std::string& folder, const std::string& prefix = "");

// {"shape": [...], "data": [...]} with "NaN", "Infinity", "-Infinity" as strings; or a bare number.
Tensor golden_tensor(const nlohmann::json& value);
float golden_float(const nlohmann::json& value);

// The folder beside the repository with real data and models, or empty when absent (tests
// that need it then skip visibly).
std::filesystem::path shared_dir();

// A fresh empty directory that is removed at the end of the process.
std::filesystem::path scratch_dir(const std::string& name);

// True if a and b are the same value: equal, both NaN, or within relative/absolute tolerance.
bool close(double a, double b, double relative, double absolute);

}  // namespace nibble::testing
