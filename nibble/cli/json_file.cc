#include "nibble/cli/json_file.h"

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/core/unique_keys.h"

namespace nibble::cli {

nlohmann::json read_json(const std::filesystem::path& path) {
  constexpr uint64_t kLargest = uint64_t{64} << 20;  // a configuration of 64 MiB is a mistake
  const std::string text = read_file(path, kLargest);
  try {
    const auto keys = unique_keys<nlohmann::json>(fmt::format("'{}': ", path.string()));
    return nlohmann::json::parse(text, keys, true, /*ignore_comments=*/true);
  } catch (const nlohmann::json::parse_error& error) {
    throw CorruptFile("'{}' is not valid JSON: {}", path.string(), error.what());
  }
}

void write_json(const std::filesystem::path& path, const nlohmann::json& value) {
  write_file(path, value.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace nibble::cli
