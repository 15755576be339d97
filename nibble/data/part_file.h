// nibble/data/part_file.h
// The unfinished file of a download: TARGET.part, held by one process at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

namespace nibble::data {

class PartFile {
 public:
  // Opens or makes TARGET.part and waits until no other process holds it.
  //   throws  IoError
  explicit PartFile(const std::filesystem::path& target);
  ~PartFile();  // removes an empty part; keeps what has arrived
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  uint64_t size() const { return size_; }

  // False, with errno set, if the disk is full or fails.
  bool append(std::span<const char> bytes);
  void clear();   // begins anew
  void finish();  // flushes and renames to the target. throws IoError

 private:
  void open_locked();

  std::filesystem::path target_, path_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

}  // namespace nibble::data
