#include "nibble/data/catalog.h"

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/data/dataset_files.h"
#include "nibble/data/download.h"
#include "nibble/data/npy_folder.h"
#include "nibble/data/public_files.h"
#include "nibble/data/search_path.h"
#include "nibble/data/synthetic_digits.h"
#include "nibble/data/synthetic_regression.h"

namespace nibble::data {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kSyntheticName = "synthetic_digits", kSyntheticRegressionName = "synthetic_regression";

bool is_known(std::string_view name) {
  const std::vector<std::string> names = dataset_names();
  return std::find(names.begin(), names.end(), name) != names.end();
}

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

fs::path cache_of(const LoadOptions& options) {
  return options.cache_dir.empty() ? default_cache_dir() : options.cache_dir;
}

// A folder that was named and is not there is a mistake, not a reason to look elsewhere.
void check_named_folder(const LoadOptions& options) {
  const char* named = std::getenv("NIBBLE_DATA_DIR");
  std::error_code ignored;
  if (!options.data_dir.empty() || options.search_path || named == nullptr || *named == '\0') return;
  if (fs::is_directory(named, ignored)) return;
  throw IoError("[load_dataset] NIBBLE_DATA_DIR is '{}', which is no directory. Correct it, or unset it.", named);
}

std::vector<fs::path> folders_to_search(const LoadOptions& options) {
  if (!options.data_dir.empty()) return {options.data_dir};
  return options.search_path ? *options.search_path : data_search_path(cache_of(options));
}

std::string joined(const std::vector<fs::path>& folders) {
  std::string text;
  for (const fs::path& folder : folders) text += (text.empty() ? "" : ", ") + folder.string();
  return text.empty() ? "no folder, because none of those that nibble knows exists" : text;
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// $NIBBLE_DATA_URL, a mirror, stands for the table's servers: BASE/mnist/FILE, else BASE/FILE.
std::vector<std::string> urls_of(const PublicFile& file, const std::string& folder, std::string mirror) {
  if (mirror.empty()) return file.urls;
  while (mirror.ends_with('/')) mirror.pop_back();
  return {mirror + "/" + folder + "/" + file.name, mirror + "/" + file.name};
}

// Fetches what the cache lacks of the entry's files.
//   throws  IoError
void download_dataset(const CatalogEntry& entry, const LoadOptions& options) {
  const fs::path cache = cache_of(options);
  if (cache.empty()) {
    throw IoError("[load_dataset] there is no folder to download to: neither XDG_CACHE_HOME nor HOME is set.");
  }
  const std::string mirror = environment("NIBBLE_DATA_URL");
  const std::string& folder = entry.folders.front();
  make_directories(cache / folder);
  for (const PublicFile& file : public_files(entry.name)) {
    const fs::path target = cache / folder / file.name;
    std::error_code error;
    if (fs::exists(target, error)) continue;
    DownloadOptions download;
    download.urls = urls_of(file, folder, mirror);
    download.target = target;
    download.accepted = file.versions;
    download.allow_http = mirror.starts_with("http://");
    download.progress = options.progress;
    download.stop = options.stop;
    download_file(download);
  }
}

// Why the data set was not downloaded, or empty if it now lies in the cache.
std::string try_download(const CatalogEntry& entry, const LoadOptions& options) {
  if (!options.data_dir.empty()) return "Nothing is downloaded when a folder is given.";
  if (!options.allow_download) return "Downloading was not allowed.";
  if (environment("NIBBLE_OFFLINE") == "1") return "NIBBLE_OFFLINE=1 forbids to download it.";
  try {
    download_dataset(entry, options);
    return "";
  } catch (const IoError& error) {
    if (options.stop != nullptr && options.stop->load()) throw;
    return error.what();
  }
}

Dataset stand_in(const CatalogEntry& entry, const std::string& reasons) {
  Dataset dataset = synthetic_digits();
  dataset.notice =
      fmt::format("synthetic_digits, drawn by nibble, stands in for {0}: accuracies are not those of {0}. {1}",
                  entry.name, reasons);
  return dataset;
}

std::optional<Dataset> load_from(const std::vector<fs::path>& folders, const CatalogEntry& entry,
                                 const LoadOptions& options, std::string& missing) {
  for (const fs::path& folder : folders) {
    if (const auto located = locate_files(entry, folder, options.holdout, missing)) {
      return read_files(entry, *located, options.holdout);
    }
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::string> dataset_names() {
  std::vector<std::string> names;
  for (const CatalogEntry& entry : catalog_entries()) names.push_back(entry.name);
  names.emplace_back(kSyntheticRegressionName);
  names.emplace_back(kSyntheticName);
  return names;
}

Dataset load_dataset(std::string_view name, const LoadOptions& options) {
  if (name == kSyntheticRegressionName) {
    check_holdout(name, options.holdout);
    return synthetic_regression();
  }
  if (name == kSyntheticName) {
    check_holdout(name, options.holdout);
    return synthetic_digits();
  }
  if (!is_known(name) && names_a_path(name)) {
    check_holdout(name, options.holdout);
    return read_own_arrays(name);
  }
  const CatalogEntry& entry = entry_of(name);
  check_holdout(name, options.holdout);
  check_named_folder(options);
  const std::vector<fs::path> folders = folders_to_search(options);
  std::string missing;
  if (auto dataset = load_from(folders, entry, options, missing)) return *std::move(dataset);
  const std::string failure = try_download(entry, options);
  if (failure.empty()) {
    auto dataset = load_from({cache_of(options)}, entry, options, missing);
    if (dataset) return *std::move(dataset);
  }
  const std::string reasons = fmt::format("{} was looked for in {}. {}{}{}", name, joined(folders), missing,
                                          missing.empty() ? "" : " ", failure);
  if (options.data_dir.empty() && options.allow_synthetic && entry.synthetic_stands_in) return stand_in(entry, reasons);
  throw IoError("[load_dataset] {} Put its files into a folder '{}' of $NIBBLE_DATA_DIR (docs/data.md).", reasons,
                entry.folders.front());
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
  const Dataset regression = synthetic_regression();  // small: as fast as a table of its sizes
  rows.push_back({std::string(kSyntheticRegressionName), "a smooth function of 8 numbers, to be learned as a number",
                  regression.train.shape(), 0, regression.train.count(), regression.test.count(), "generated"});
  const SyntheticDigitsOptions sizes;
  rows.push_back({std::string(kSyntheticName), "digits drawn by pen strokes, for use without any file",
                  Shape{28, 28, 1}, 10, sizes.train_count, sizes.test_count, "generated"});
  return rows;
}

}  // namespace nibble::data
