#include "nibble/experiment/cell_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"

namespace nibble::experiment {
namespace {

namespace fs = std::filesystem;
constexpr uint64_t kLargestCell = 1 << 20;

nlohmann::json parse(const fs::path& path) {
  const nlohmann::json json = nlohmann::json::parse(read_file(path, kLargestCell), nullptr, false);
  if (json.is_object() && json.contains("settings")) return json;
  throw CorruptFile("'{}' is no cell of an experiment. Remove it, and the cell is computed anew.", path.string());
}

double number(const nlohmann::json& json, const char* key, const fs::path& path) {
  const auto found = json.find(key);
  if (found != json.end() && found->is_number()) return found->get<double>();
  throw CorruptFile("'{}' has no number '{}'. Remove it, and the cell is computed anew.", path.string(), key);
}

}  // namespace

CellLock::~CellLock() {
  if (descriptor_ >= 0) close(descriptor_);
}

CellStore::CellStore(fs::path directory) : directory_(std::move(directory)) {
  make_directories(directory_ / "cells");
  make_directories(directory_ / "models");
  make_directories(directory_ / "locks");
}

fs::path CellStore::path_of(const Cell& cell) const { return directory_ / "cells" / (cell.key() + ".json"); }
fs::path CellStore::model_path(const Cell& cell, const PtqQatOptions& options) const {
  std::string name = fmt::format("{}-e{}", cell.key(), options.epochs);
  if (options.train_samples > 0) name += fmt::format("-n{}", options.train_samples);
  if (!options.augmentation.is_none()) name += fmt::format("-{}", data::to_string(options.augmentation));
  return directory_ / "models" / (name + ".keras");
}
fs::path CellStore::checkpoint_path(const Cell& cell, const PtqQatOptions& options) const {
  return model_path(cell, options).replace_extension(".checkpoint");
}

std::optional<CellLock> CellStore::try_lock(const Cell& cell) const {
  const fs::path path = directory_ / "locks" / (cell.key() + ".lock");
  // Close-on-exec: what this process starts must not keep the lock. The file stays: one that another process has opened
  // already would be locked twice.
  const int descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor < 0) throw IoError("[experiment] cannot make '{}': {}.", path.string(), std::strerror(errno));
  if (flock(descriptor, LOCK_EX | LOCK_NB) == 0) return CellLock(descriptor);
  const int reason = errno;
  close(descriptor);
  if (reason == EWOULDBLOCK) return std::nullopt;
  throw IoError("[experiment] cannot lock '{}': {}. Put --out on a file system that has locks.", path.string(),
                std::strerror(reason));
}

std::optional<CellResult> CellStore::find(const Cell& cell, const PtqQatOptions& options) const {
  const fs::path path = path_of(cell);
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::nullopt;
  const nlohmann::json json = parse(path);
  const nlohmann::json wanted = settings_of(cell, options);
  if (json.at("settings") != wanted) {
    throw InvalidArgument(
        "[experiment] '{}' was computed with the settings {}, not {}. Give the same options, or another --out.",
        path.string(), json.at("settings").dump(), wanted.dump());
  }
  CellResult result;
  result.accuracy = number(json, "accuracy", path);
  result.seconds = number(json, "seconds", path);
  result.saturated_biases = number(json, "saturated_biases", path);
  result.samples = static_cast<int64_t>(number(json, "samples", path));
  return result;
}

void CellStore::save(const Cell& cell, const PtqQatOptions& options, const CellResult& result) const {
  const nlohmann::json json = {{"dataset", cell.dataset},
                               {"network", cell.network()},
                               {"method", name(cell.method)},
                               {"bits", cell.bits},
                               {"seed", cell.seed},
                               {"study", cell.variation.study},
                               {"variation", cell.variation.name},
                               {"settings", settings_of(cell, options)},
                               {"accuracy", result.accuracy},
                               {"seconds", result.seconds},
                               {"saturated_biases", result.saturated_biases},
                               {"samples", result.samples}};
  write_file(path_of(cell), json.dump(2) + "\n");
}

}  // namespace nibble::experiment
