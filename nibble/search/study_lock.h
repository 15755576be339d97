// nibble/search/study_lock.h
// At most one launcher works on a study's directory.
#pragma once

#include <filesystem>

namespace nibble::search {

// Holds DIR/study.lock. The kernel drops the lock when the process ends, however it ends, so a
// killed launcher never leaves a study locked.
class StudyLock {
 public:
  //   throws  InvalidArgument naming the process that has the lock; IoError if the file cannot be made
  explicit StudyLock(const std::filesystem::path& directory);
  ~StudyLock();
  StudyLock(const StudyLock&) = delete;
  StudyLock& operator=(const StudyLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace nibble::search
