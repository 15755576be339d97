// nibble/data/dataset_files.h
// What each named data set is, which files it consists of, and how they become samples.
// A new data set of a known format is a row of the table in dataset_files.cc.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/data/dataset.h"

namespace nibble::data {

enum class FileFormat { kIdx, kDigitsCsv, kCifar10, kCifar100 };

struct CatalogEntry {
  std::string name, description;
  FileFormat format;
  std::vector<std::string> folders;  // where it lies inside a data folder; downloads use the first
  Shape shape;                       // of one sample
  int num_classes;
  int64_t train_count, test_count;  // as published
  float max_value;
  bool synthetic_stands_in;  // 28x28 grey: synthetic_digits has its shape and number of classes
};

// The table; synthetic_digits, which has no files, is not in it.
std::span<const CatalogEntry> catalog_entries();

// The files of one data set in one folder, in the order that the format's reader wants them.
struct LocatedFiles {
  std::filesystem::path folder;
  std::vector<std::filesystem::path> files;  // kCifar*: the archive, or empty where the batches lie in `folder`
};

// Looks below `root`, and in `root` itself if it bears one of the entry's folder names.
//   returns  nothing unless every file is there; `missing` then gets a sentence about a folder that
//            holds a part of them, or stays as it was
std::optional<LocatedFiles> locate_files(const CatalogEntry& entry, const std::filesystem::path& root,
                                         std::string_view holdout, std::string& missing);

// Reads both splits. name, num_classes, max_value, source and notice are set.
//   throws  IoError; CorruptFile naming file and offset
Dataset read_files(const CatalogEntry& entry, const LocatedFiles& located, std::string_view holdout);

}  // namespace nibble::data
