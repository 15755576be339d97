#include "nibble/search/study_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "nibble/core/error.h"

namespace nibble::search {

StudyLock::StudyLock(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / "study.lock";
  // Close-on-exec: a worker that outlives its launcher must not keep the lock.
  descriptor_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor_ < 0) {
    throw IoError("[study] cannot make '{}': {}. The search needs a directory that it may write to.", path.string(),
                  std::strerror(errno));
  }
  if (flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    const int reason = errno;
    std::array<char, 32> holder{};
    const ssize_t length = pread(descriptor_, holder.data(), holder.size() - 1, 0);
    close(descriptor_);
    if (reason != EWOULDBLOCK) {
      throw IoError("[study] cannot lock '{}': {}. Use a file system that has locks.", path.string(),
                    std::strerror(reason));
    }
    throw InvalidArgument(
        "[study] '{}' is in use by another search (process {}). Wait for it, stop it with Ctrl-C, or give this one "
        "another --output directory.",
        directory.string(), length > 0 ? holder.data() : "unknown");
  }
  const std::string pid = std::to_string(getpid());
  if (ftruncate(descriptor_, 0) == 0) {
    // Only for the sentence above; the lock itself does not need it.
    [[maybe_unused]] const ssize_t written = pwrite(descriptor_, pid.data(), pid.size(), 0);
  }
}

StudyLock::~StudyLock() {
  if (descriptor_ >= 0) close(descriptor_);
}

}  // namespace nibble::search
