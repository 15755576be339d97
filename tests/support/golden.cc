#include "support/golden.h"

#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <stdexcept>

namespace nibble::testing {
namespace fs = std::filesystem;
namespace {

// gzread also reads files that are not compressed.
std::string read_gzip(const fs::path& path) {
  gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr) throw std::runtime_error("cannot open " + path.string());
  std::string bytes;
  char buffer[1 << 16];
  int count = 0;
  while ((count = gzread(file, buffer, sizeof buffer)) > 0) bytes.append(buffer, static_cast<size_t>(count));
  gzclose(file);
  if (count < 0) throw std::runtime_error("cannot decompress " + path.string());
  return bytes;
}

class ScratchRoot {
 public:
  ScratchRoot() : path_(fs::temp_directory_path() / ("nibble_test_" + std::to_string(getpid()))) {
    fs::create_directories(path_);
  }
  ~ScratchRoot() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

}  // namespace

fs::path golden_dir() {
  const char* given = std::getenv("NIBBLE_GOLDEN_DIR");
  if (given != nullptr && *given != '\0') {
    // A typing error must not pass for a set of rows that all fit.
    if (!fs::is_directory(given)) throw std::runtime_error(std::string("NIBBLE_GOLDEN_DIR is no folder: ") + given);
    return given;
  }
  return fs::path(NIBBLE_SOURCE_DIR) / "tests" / "golden";
}

std::string golden_text(const std::string& name) {
  for (const char* extension : {".json", ".json.gz"}) {
    const fs::path path = golden_dir() / (name + extension);
    if (fs::exists(path)) return read_gzip(path);
  }
  return "";
}

nlohmann::json golden_json(const std::string& name) {
  const std::string text = golden_text(name);
  return text.empty() ? nlohmann::json() : nlohmann::json::parse(text);
}

std::vector<std::string> golden_files(const std::string& folder, const std::string& prefix) {
  std::vector<std::string> names;
  const fs::path directory = golden_dir() / folder;
  if (!fs::is_directory(directory)) return names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    const size_t end = name.find(".json");
    if (end != std::string::npos && name.rfind(prefix, 0) == 0) names.push_back(name.substr(0, end));
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

float golden_float(const nlohmann::json& value) {
  if (!value.is_string()) return value.get<float>();
  const auto text = value.get<std::string>();
  if (text == "NaN") return std::numeric_limits<float>::quiet_NaN();
  if (text == "Infinity") return std::numeric_limits<float>::infinity();
  if (text == "-Infinity") return -std::numeric_limits<float>::infinity();
  throw std::runtime_error("not a golden number: " + text);
}

Tensor golden_tensor(const nlohmann::json& value) {
  if (!value.is_object()) return Tensor::scalar(golden_float(value));
  std::vector<float> data;
  for (const auto& item : value.at("data")) data.push_back(golden_float(item));
  return Tensor(Shape(value.at("shape").get<std::vector<int64_t>>()), std::move(data));
}

fs::path shared_dir() {
  const char* given = std::getenv("NIBBLE_SHARED_DIR");
  const fs::path path = given != nullptr ? fs::path(given) : fs::path(NIBBLE_SOURCE_DIR).parent_path() / "shared";
  return fs::is_directory(path) ? path : fs::path();
}

fs::path scratch_dir(const std::string& name) {
  static const ScratchRoot root;
  const fs::path path = root.path() / name;
  fs::remove_all(path);
  fs::create_directories(path);
  return path;
}

bool close(double a, double b, double relative, double absolute) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  if (a == b) return true;
  return std::abs(a - b) <= absolute + relative * std::abs(b);
}

}  // namespace nibble::testing
