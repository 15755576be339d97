#include "nibble/data/dataset_files.h"

#include "nibble/core/error.h"
#include "nibble/data/cifar.h"
#include "nibble/data/digits_csv.h"
#include "nibble/data/idx.h"

namespace nibble::data {
namespace fs = std::filesystem;
namespace {

const std::vector<CatalogEntry>& table() {
  static const std::vector<CatalogEntry> entries = {
      {"mnist",
       "handwritten digits (LeCun, Cortes, Burges)",
       FileFormat::kIdx,
       {"mnist", "MNIST/raw", "MNIST"},
       Shape{28, 28, 1},
       10,
       60000,
       10000,
       255.0f,
       true},
      {"fashion_mnist",
       "articles of clothing (Zalando; Xiao, Rasul, Vollgraf 2017)",
       FileFormat::kIdx,
       {"fashion-mnist", "fashion_mnist", "FashionMNIST/raw", "FashionMNIST"},
       Shape{28, 28, 1},
       10,
       60000,
       10000,
       255.0f,
       true},
      {"cifar10",
       "colour photographs of 10 classes (Krizhevsky 2009)",
       FileFormat::kCifar10,
       {"cifar-10", "cifar10", "cifar_10"},
       Shape{32, 32, 3},
       10,
       50000,
       10000,
       255.0f,
       false},
      {"cifar100",
       "colour photographs of 100 classes (Krizhevsky 2009)",
       FileFormat::kCifar100,
       {"cifar-100", "cifar100", "cifar_100"},
       Shape{32, 32, 3},
       100,
       50000,
       10000,
       255.0f,
       false},
      {"digits",
       "small handwritten digits (UCI; Alpaydin, Kaynak 1998)",
       FileFormat::kDigitsCsv,
       {"digits", "optdigits"},
       Shape{8, 8, 1},
       10,
       3823,
       1797,
       16.0f,
       false},
  };
  return entries;
}

// One file under its possible names.
using Alternatives = std::vector<std::string>;

std::vector<Alternatives> idx_files() {
  std::vector<Alternatives> files;
  for (const std::string stem :
       {"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}) {
    files.push_back({stem + ".gz", stem});
  }
  return files;
}

const std::vector<Alternatives>& digits_files() {
  static const std::vector<Alternatives> files = {{"optdigits.tra", "optdigits.tra.gz"},
                                                  {"optdigits.tes", "optdigits.tes.gz", "digits.csv.gz", "digits.csv"}};
  return files;
}

CifarLayout cifar_layout(FileFormat format, std::string_view holdout) {
  if (format == FileFormat::kCifar100) return {CifarKind::kCifar100, {"train.bin"}, {"test.bin"}};
  CifarLayout layout{CifarKind::kCifar10, {}, {"test_batch.bin"}};
  for (int batch = 1; batch <= 5; ++batch) layout.train.push_back(fmt::format("data_batch_{}.bin", batch));
  if (holdout == "batch5") {
    layout.test = {layout.train.back()};
    layout.train.pop_back();
  }
  return layout;
}

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

// Each file under the first of its names that exists.
std::optional<LocatedFiles> locate_each(const fs::path& folder, const std::vector<Alternatives>& files,
                                        std::string& missing) {
  LocatedFiles located{folder, {}};
  std::string absent;
  for (const Alternatives& names : files) {
    const size_t before = located.files.size();
    for (const std::string& name : names) {
      if (located.files.size() == before && is_file(folder / name)) located.files.push_back(folder / name);
    }
    if (located.files.size() == before) absent += (absent.empty() ? "" : ", ") + names.front();
  }
  if (absent.empty()) return located;
  if (!located.files.empty()) missing = fmt::format("{} lacks {}.", folder.string(), absent);
  return std::nullopt;
}

std::optional<LocatedFiles> locate_cifar(const CatalogEntry& entry, const fs::path& folder, std::string_view holdout,
                                         std::string& missing) {
  const bool is_10 = entry.format == FileFormat::kCifar10;
  const CifarLayout layout = cifar_layout(entry.format, holdout);
  std::vector<Alternatives> batches;
  for (const auto* names : {&layout.train, &layout.test}) {
    for (const std::string& name : *names) batches.push_back({name});
  }
  for (const fs::path& inner : {folder / (is_10 ? "cifar-10-batches-bin" : "cifar-100-binary"), folder}) {
    if (locate_each(inner, batches, missing)) return LocatedFiles{inner, {}};
  }
  const std::string stem = is_10 ? "cifar-10-binary" : "cifar-100-binary";
  for (const char* extension : {".tar.gz", ".tar"}) {
    if (is_file(folder / (stem + extension))) return LocatedFiles{folder, {folder / (stem + extension)}};
  }
  return std::nullopt;
}

std::optional<LocatedFiles> locate_in(const CatalogEntry& entry, const fs::path& folder, std::string_view holdout,
                                      std::string& missing) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) return std::nullopt;
  switch (entry.format) {
    case FileFormat::kIdx:
      return locate_each(folder, idx_files(), missing);
    case FileFormat::kDigitsCsv:
      return locate_each(folder, digits_files(), missing);
    case FileFormat::kCifar10:
    case FileFormat::kCifar100:
      return locate_cifar(entry, folder, holdout, missing);
  }
  return std::nullopt;
}

void check_shape(const CatalogEntry& entry, const Samples& samples, const LocatedFiles& located) {
  if (samples.shape() == entry.shape && samples.count() > 0) return;
  throw CorruptFile("[load_dataset] {} holds {} samples of shape {}; {} has samples of shape {}.",
                    located.folder.string(), samples.count(), samples.shape().str(), entry.name, entry.shape.str());
}

}  // namespace

std::span<const CatalogEntry> catalog_entries() { return table(); }

std::optional<LocatedFiles> locate_files(const CatalogEntry& entry, const fs::path& root, std::string_view holdout,
                                         std::string& missing) {
  for (const std::string& folder : entry.folders) {
    if (auto located = locate_in(entry, root / folder, holdout, missing)) return located;
  }
  // MNIST and Fashion-MNIST have the same file names: only the folder's name tells them apart.
  const fs::path own_name = root.has_filename() ? root.filename() : root.parent_path().filename();
  for (const std::string& folder : entry.folders) {
    if (own_name != folder) continue;
    if (auto located = locate_in(entry, root, holdout, missing)) return located;
  }
  return std::nullopt;
}

Dataset read_files(const CatalogEntry& entry, const LocatedFiles& located, std::string_view holdout) {
  Dataset dataset;
  dataset.name = entry.name;
  dataset.num_classes = entry.num_classes;
  dataset.max_value = entry.max_value;
  dataset.source = located.folder.string();
  const auto& files = located.files;
  if (entry.format == FileFormat::kIdx) {
    dataset.train = read_idx_samples(files[0], files[1], entry.num_classes);
    dataset.test = read_idx_samples(files[2], files[3], entry.num_classes);
  } else if (entry.format == FileFormat::kDigitsCsv) {
    dataset.train = read_digits_csv(files[0]);
    dataset.test = read_digits_csv(files[1]);
  } else {
    const CifarLayout layout = cifar_layout(entry.format, holdout);
    CifarSplits splits =
        files.empty() ? read_cifar_folder(located.folder, layout) : read_cifar_archive(files[0], layout);
    dataset.train = std::move(splits.train);
    dataset.test = std::move(splits.test);
  }
  check_shape(entry, dataset.train, located);
  check_shape(entry, dataset.test, located);
  if (holdout.empty() && dataset.test.count() < entry.test_count) {
    dataset.notice = fmt::format("{} holds {} test samples of the published {}; accuracies are less certain.{}",
                                 dataset.source, dataset.test.count(), entry.test_count,
                                 entry.name == "cifar10" ? " --holdout batch5 tests on data_batch_5 instead." : "");
  }
  return dataset;
}

}  // namespace nibble::data
