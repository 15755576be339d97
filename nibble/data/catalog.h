// nibble/data/catalog.h
// Data sets by name.
//
//   Dataset data = load_dataset("mnist");
//   apply_preprocessing(data, Preprocessing::kTutorial);
//
// A name is looked for in the folders of search_path.h, then downloaded into the user's cache;
// where that fails too, synthetic_digits stands in for 28x28 grey images, and
// Dataset::notice says so. docs/data.md lists names, folders and file names.
#pragma once

#include <atomic>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/data/dataset.h"
#include "nibble/data/download.h"

namespace nibble::data {

struct LoadOptions {
  // "batch5" (cifar10 only): train on data_batch_1 to 4, test on data_batch_5. Empty: the usual split.
  std::string holdout = {};
  // If given, the only folder that is looked in; nothing is downloaded and nothing stands in, because a user who
  // names a folder wants to know that it lacks the data.
  std::filesystem::path data_dir = {};
  // If given, stands for the folders of search_path.h. Downloads still go to the cache.
  std::optional<std::vector<std::filesystem::path>> search_path = {};
  bool allow_download = true;               // NIBBLE_OFFLINE=1 in the environment forbids it too
  bool allow_synthetic = true;              // synthetic_digits for mnist and fashion_mnist that cannot be had
  std::filesystem::path cache_dir = {};     // empty: default_cache_dir()
  DownloadProgress progress = {};           // called while a file arrives
  const std::atomic<bool>* stop = nullptr;  // checked while downloading; true ends it with an IoError
};

// The known names: mnist, fashion_mnist, cifar10, cifar100, digits, synthetic_regression, synthetic_digits.
std::vector<std::string> dataset_names();

//   name    one of them, or a folder or .npz of one's own arrays (npy_folder.h)
//   throws  InvalidArgument for an unknown name (with the nearest known ones) or holdout; IoError if
//           the data cannot be had, saying where they were looked for and why a download failed;
//           CorruptFile naming file and offset if a file that was found is damaged
Dataset load_dataset(std::string_view name, const LoadOptions& options = {});

// What `nibble data` lists.
struct DatasetInfo {
  std::string name, description;
  Shape shape;  // of one sample
  int num_classes = 0;
  int64_t train_count = 0, test_count = 0;  // of the published data set
  std::string location;                     // the folder where it lies, "generated", or empty if it would be downloaded
};
std::vector<DatasetInfo> list_datasets(const LoadOptions& options = {});

}  // namespace nibble::data
