#include "nibble/data/catalog.h"

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/data/dataset_files.h"
#include "nibble/data/search_path.h"

namespace nibble::data {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kSyntheticName = "synthetic_digits";

const CatalogEntry& entry_of(std::string_view name) {
  const auto entries = catalog_entries();
  const auto found =
      std::find_if(entries.begin(), entries.end(), [&](const auto& entry) { return entry.name == name; });
  if (found != entries.end()) return *found;
  const std::vector<std::string> names = dataset_names();
  throw InvalidArgument("[load_dataset] there is no data set named '{}'. {}", name, suggest(name, names));
}

void check_holdout(std::string_view name, std::string_view holdout) {
  if (holdout.empty() || (holdout == "batch5" && name == "cifar10")) return;
  throw InvalidArgument(
      "[load_dataset] holdout '{}' of {} is unknown. 'batch5' is allowed, for cifar10: it tests on data_batch_5.",
      holdout, name);
}

std::vector<fs::path> folders_to_search(const LoadOptions& options) {
  if (!options.data_dir.empty()) return {options.data_dir};
  return data_search_path(options.cache_dir.empty() ? default_cache_dir() : options.cache_dir);
}

std::string joined(const std::vector<fs::path>& folders) {
  std::string text;
  for (const fs::path& folder : folders) text += (text.empty() ? "" : ", ") + folder.string();
  return text.empty() ? "no folder, for none of them exists" : text;
}

}  // namespace

std::vector<std::string> dataset_names() {
  std::vector<std::string> names;
  for (const CatalogEntry& entry : catalog_entries()) names.push_back(entry.name);
  names.emplace_back(kSyntheticName);
  return names;
}

Dataset load_dataset(std::string_view name, const LoadOptions& options) {
  const CatalogEntry& entry = entry_of(name);
  check_holdout(name, options.holdout);
  const std::vector<fs::path> folders = folders_to_search(options);
  std::string missing;
  for (const fs::path& folder : folders) {
    if (const auto located = locate_files(entry, folder, options.holdout, missing)) {
      return read_files(entry, *located, options.holdout);
    }
  }
  throw IoError("[load_dataset] {} was looked for in {}. {}", name, joined(folders), missing);
}

std::vector<DatasetInfo> list_datasets(const LoadOptions& options) {
  std::vector<DatasetInfo> rows;
  const std::vector<fs::path> folders = folders_to_search(options);
  for (const CatalogEntry& entry : catalog_entries()) {
    DatasetInfo row{entry.name,        entry.description, entry.shape, entry.num_classes,
                    entry.train_count, entry.test_count,  ""};
    std::string missing;
    for (const fs::path& folder : folders) {
      const auto located = locate_files(entry, folder, options.holdout, missing);
      if (located && row.location.empty()) row.location = located->folder.string();
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace nibble::data
