#include "nibble/report/watched_study.h"

#include <sys/stat.h>

#include <cerrno>
#include <chrono>

#include "nibble/core/error.h"
#include "nibble/search/study_url.h"

namespace nibble::report {
namespace {

// A page is to hear soon that the server does not answer.
search::StorageOptions patient_for_seconds() { return {.busy_timeout_s = 5}; }

// So that no page of an earlier dashboard happens to have a version of this one.
int64_t first_version() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

}  // namespace

WatchedStudy::WatchedStudy(const std::string& url)
    : url_(url),
      is_on_server_(search::is_server_url(url)),
      place_(place()),
      storage_(search::Storage::open(url, patient_for_seconds())),
      info_(storage_.info()),
      space_(search::space_from_json(info_.space)),
      feed_(storage_, space_, first_version()) {
  feed_.refresh();
}

void WatchedStudy::look() {
  const std::lock_guard guard(mutex_);
  feed_.say(look_for_trouble());
}

bool WatchedStudy::is_file_gone() const {
  if (is_on_server_) return false;
  struct stat status = {};
  return stat(search::sqlite_path(url_).c_str(), &status) != 0 && (errno == ENOENT || errno == ENOTDIR);
}

std::vector<search::Step> WatchedStudy::steps(int number) {
  const std::lock_guard guard(mutex_);
  return storage_.steps(number);
}

WatchedStudy::Place WatchedStudy::place() const {
  struct stat status = {};
  if (is_on_server_ || stat(search::sqlite_path(url_).c_str(), &status) != 0) return {0, 0};
  return {status.st_dev, status.st_ino};
}

// A sentence, or nothing where all is well. Everything is caught: a look comes from a thread that must go on.
std::string WatchedStudy::look_for_trouble() {
  if (is_file_gone()) return gone();
  try {
    const bool may_differ = !feed_.trouble().empty() || place() != place_;
    if (may_differ && !open_anew()) {
      return "another study took the place of this one. Start 'nibble dashboard' anew to see it.";
    }
    feed_.refresh();
    return "";
  } catch (const std::exception& error) {
    try {
      if (is_on_server_ && !search::Storage::holds_study(url_)) return gone();
    } catch (const std::exception&) {
      // The server is away: then the first error says more.
    }
    return fmt::format("the study cannot be read: {}", error.what());
  }
}

// False, and nothing changes, if it is another one.
bool WatchedStudy::open_anew() {
  const Place now = place();
  search::Storage storage = search::Storage::open(url_, patient_for_seconds());
  const search::StudyInfo info = storage.info();
  if (info.space != info_.space || info.run_config != info_.run_config || info.seed != info_.seed) return false;
  storage_ = std::move(storage);
  place_ = now;
  feed_.begin_anew();
  return true;
}

std::string WatchedStudy::gone() const {
  return fmt::format("the study is gone: '{}' is no longer there. What is shown is what was seen last.",
                     is_on_server_ ? search::parse_server_url(url_).display : search::sqlite_path(url_));
}

}  // namespace nibble::report
