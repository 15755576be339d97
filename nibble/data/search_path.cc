#include "nibble/data/search_path.h"

#include <algorithm>
#include <cstdlib>

namespace nibble::data {
namespace fs = std::filesystem;
namespace {

fs::path from_environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? fs::path() : fs::path(value);
}

// The nearest folder from `start` upward that holds a CMake project, or empty.
fs::path enclosing_repository(fs::path start) {
  std::error_code error;
  while (!start.empty()) {
    if (fs::exists(start / "CMakeLists.txt", error) && fs::exists(start / "nibble", error)) return start;
    if (start == start.parent_path()) break;
    start = start.parent_path();
  }
  return {};
}

fs::path program_folder() {
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error).parent_path();
}

}  // namespace

fs::path default_cache_dir() {
  // A relative XDG_CACHE_HOME is to be ignored, says the XDG Base Directory Specification.
  const fs::path xdg = from_environment("XDG_CACHE_HOME");
  if (xdg.is_absolute()) return xdg / "nibble";
  const fs::path home = from_environment("HOME");
  return home.empty() ? fs::path() : home / ".cache" / "nibble";
}

std::vector<fs::path> data_search_path(const fs::path& cache_dir) {
  std::error_code error;
  const fs::path working = fs::current_path(error);
  std::vector<fs::path> wanted = {from_environment("NIBBLE_DATA_DIR")};
  for (const fs::path& beside : {working, enclosing_repository(working), enclosing_repository(program_folder())}) {
    if (!beside.empty()) wanted.push_back(beside.parent_path() / "shared" / "data");
  }
  wanted.push_back(cache_dir);

  std::vector<fs::path> found;
  for (const fs::path& folder : wanted) {
    const bool is_new = std::find(found.begin(), found.end(), folder) == found.end();
    if (!folder.empty() && is_new && fs::is_directory(folder, error)) found.push_back(folder);
  }
  return found;
}

}  // namespace nibble::data
