#include "nibble/data/part_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "nibble/core/error.h"

namespace nibble::data {
namespace fs = std::filesystem;

PartFile::PartFile(const fs::path& target) : target_(target), path_(target.string() + ".part") {
  // Whoever held the lock before may have renamed or removed the file that we waited for: then
  // the lock is on a file without that name, and the name must be opened again.
  for (;;) {
    open_locked();
    struct stat opened = {}, named = {};
    const bool same = fstat(fd_, &opened) == 0 && stat(path_.c_str(), &named) == 0 && opened.st_ino == named.st_ino;
    if (same) {
      size_ = static_cast<uint64_t>(opened.st_size);
      return;
    }
    close(fd_);
  }
}

void PartFile::open_locked() {
  fd_ = open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd_ < 0) throw IoError("[download] cannot write {}: {}.", path_.string(), std::strerror(errno));
  while (flock(fd_, LOCK_EX) != 0) {
    if (errno == EINTR) continue;
    const int reason = errno;
    close(fd_);
    throw IoError("[download] cannot lock {}: {}.", path_.string(), std::strerror(reason));
  }
}

PartFile::~PartFile() {
  if (fd_ < 0) return;
  std::error_code ignored;
  if (size_ == 0) fs::remove(path_, ignored);
  close(fd_);
}

bool PartFile::append(std::span<const char> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    size_ += static_cast<uint64_t>(written);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return true;
}

void PartFile::clear() {
  if (ftruncate(fd_, 0) != 0) throw IoError("[download] cannot empty {}: {}.", path_.string(), std::strerror(errno));
  size_ = 0;
}

void PartFile::finish() {
  if (fsync(fd_) != 0) throw IoError("[download] cannot flush {}: {}.", path_.string(), std::strerror(errno));
  std::error_code error;
  fs::rename(path_, target_, error);
  if (error) throw IoError("[download] cannot rename {}: {}.", path_.string(), error.message());
  close(fd_);
  fd_ = -1;
}

}  // namespace nibble::data
