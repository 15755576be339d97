// nibble/core/atomic_file.h
// Files that appear whole or not at all.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace nibble {

// A path beside the target to write to. commit() renames it over the target;
// without commit the temporary file is removed. A crash leaves the old target.
//
//   AtomicFile file("out/model.keras");
//   write_zip(file.temporary_path());
//   file.commit();
class AtomicFile {
 public:
  // throws IoError if the target's directory does not exist or cannot be written
  explicit AtomicFile(std::filesystem::path target);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  const std::filesystem::path& temporary_path() const { return temporary_; }

  // Flushes the bytes to the disk and renames.
  //   throws  IoError, and the temporary file is removed
  void commit();

 private:
  std::filesystem::path target_, temporary_;
  bool committed_ = false;
};

// Writes a whole file atomically. throws IoError
void write_file(const std::filesystem::path& path, std::string_view bytes);

// Reads a whole file.
//   throws  IoError if it cannot be read, InvalidArgument if it is larger than limit_bytes
std::string read_file(const std::filesystem::path& path, uint64_t limit_bytes = uint64_t{1} << 32);

// Makes a directory and its parents. throws IoError with the reason
void make_directories(const std::filesystem::path& path);

}  // namespace nibble
