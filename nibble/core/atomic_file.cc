#include "nibble/core/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "nibble/core/error.h"

namespace nibble {
namespace fs = std::filesystem;
namespace {

// Two writers of one target, in one process or in two, must not share a temporary name.
fs::path temporary_name(const fs::path& target) {
  static std::atomic<unsigned> counter{0};
  return target.parent_path() / fmt::format(".{}.{}.{}.part", target.filename().string(), getpid(), counter++);
}

void flush_to_disk(const fs::path& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw IoError("[write] cannot open {} again: {}.", path.string(), std::strerror(errno));
  const int failed = fsync(fd);
  const int reason = errno;
  close(fd);
  if (failed != 0) throw IoError("[write] cannot flush {}: {}.", path.string(), std::strerror(reason));
}

}  // namespace

AtomicFile::AtomicFile(fs::path target) : target_(std::move(target)), temporary_(temporary_name(target_)) {
  const fs::path directory = target_.parent_path().empty() ? fs::path(".") : target_.parent_path();
  std::error_code error;
  if (!fs::is_directory(directory, error)) {
    throw IoError("[write] cannot write {}: {} is not a directory. Make it first, or choose another path.",
                  target_.string(), directory.string());
  }
  if (fs::is_directory(target_, error)) {
    throw IoError("[write] cannot write {}: it is a directory. Name a file inside it.", target_.string());
  }
  // Renaming over /dev/null as the superuser would replace the device.
  if (fs::exists(target_, error) && !fs::is_regular_file(target_, error)) {
    throw IoError("[write] cannot write {}: it is there and not a regular file.", target_.string());
  }
  if (access(directory.c_str(), W_OK) != 0) {
    throw IoError("[write] cannot write into {}: {}. Choose a directory that you may write to.", directory.string(),
                  std::strerror(errno));
  }
}

AtomicFile::~AtomicFile() {
  if (committed_) return;
  std::error_code ignored;
  fs::remove(temporary_, ignored);
}

void AtomicFile::commit() {
  flush_to_disk(temporary_);
  std::error_code error;
  fs::rename(temporary_, target_, error);
  if (error) throw IoError("[write] cannot rename to {}: {}.", target_.string(), error.message());
  committed_ = true;
}

void write_file(const fs::path& path, std::string_view bytes) {
  AtomicFile file(path);
  std::ofstream out(file.temporary_path(), std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  out.close();
  if (!out) {
    throw IoError("[write] cannot write {} bytes to {}: {}. Is the disk full?", bytes.size(), path.string(),
                  std::strerror(errno));
  }
  file.commit();
}

std::string read_file(const fs::path& path, uint64_t limit_bytes) {
  std::error_code error;
  if (!fs::exists(path, error)) throw IoError("[read] {} does not exist.", path.string());
  if (!fs::is_regular_file(path, error)) throw IoError("[read] {} is not a file.", path.string());
  const uint64_t size = fs::file_size(path, error);
  if (error) throw IoError("[read] cannot read {}: {}.", path.string(), error.message());
  if (size > limit_bytes) {
    throw InvalidArgument("[read] {} has {} bytes; at most {} are read.", path.string(), size, limit_bytes);
  }
  std::ifstream in(path, std::ios::binary);
  std::string bytes(size, '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(size));
  if (!in || static_cast<uint64_t>(in.gcount()) != size) {
    throw IoError("[read] cannot read {}: {}.", path.string(), std::strerror(errno));
  }
  return bytes;
}

void make_directories(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error || !fs::is_directory(path)) {
    throw IoError("[write] cannot make the directory {}: {}.", path.string(),
                  error ? error.message() : "a file has that name");
  }
}

}  // namespace nibble
