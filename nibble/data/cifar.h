// nibble/data/cifar.h
// CIFAR-10 and CIFAR-100 in their binary version (A. Krizhevsky, "Learning Multiple Layers of
// Features from Tiny Images", 2009).
//
// A record is the label (CIFAR-100: coarse label, then fine label; the fine one is used) and
// 3,072 pixel bytes: 1,024 red, 1,024 green, 1,024 blue, each 32x32 row by row. Samples
// come out as (32, 32, 3), channel last.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/data/dataset.h"
#include "nibble/data/input_stream.h"

namespace nibble::data {

enum class CifarKind { kCifar10, kCifar100 };

constexpr int cifar_classes(CifarKind kind) { return kind == CifarKind::kCifar10 ? 10 : 100; }

// One split, collected batch by batch; any whole number of records each.
class CifarRecords {
 public:
  explicit CifarRecords(CifarKind kind) : kind_(kind) {}

  // Appends the records in the next `size` bytes. `what` names the batch for errors.
  //   throws  CorruptFile if size is not a whole number of records, the stream ends before, or
  //           a label is out of range; nothing is appended of the broken record
  void append(InputStream& stream, uint64_t size, std::string_view what);

  int64_t count() const { return static_cast<int64_t>(labels_.size()); }
  Samples take();  // leaves this empty

 private:
  CifarKind kind_;
  std::vector<uint8_t> pixels_;
  std::vector<int32_t> labels_;
};

// The members of a folder, or of a .tar or .tar.gz, that a data set needs.
struct CifarLayout {
  CifarKind kind;
  std::vector<std::string> train;  // file names without folder, in order
  std::vector<std::string> test;
};

struct CifarSplits {
  Samples train, test;
};

//   folder  holds every file of the layout
//   throws  IoError, CorruptFile
CifarSplits read_cifar_folder(const std::filesystem::path& folder, const CifarLayout& layout);

// Reads the archive once, as a stream; members may lie in any folder and any order.
//   throws  IoError; CorruptFile naming archive, member and offset, or the member that is missing
CifarSplits read_cifar_archive(const std::filesystem::path& archive, const CifarLayout& layout);

}  // namespace nibble::data
