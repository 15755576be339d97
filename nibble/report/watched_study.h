// nibble/report/watched_study.h
// A study that is looked at for long and may go away meanwhile: it is deleted, its server is out of reach, its file is
// damaged. What is wrong is told to the pages by the feed, beside what was seen last. When the study is there again, or
// one that was made anew with the same configuration, the feed goes on with it.
#pragma once

#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "nibble/report/trial_feed.h"
#include "nibble/search/storage.h"

namespace nibble::report {

// Safe to use from several threads.
class WatchedStudy {
 public:
  //   throws  what Storage::open throws
  explicit WatchedStudy(const std::string& url);

  const search::StudyInfo& info() const { return info_; }  // as it was at first
  const search::SearchSpace& space() const { return space_; }
  TrialFeed& feed() { return feed_; }
  const TrialFeed& feed() const { return feed_; }

  // Brings the feed up to date, or has it say why not.
  void look();
  // True if a file is no longer there; of a server's study, which must be asked for it, never.
  bool is_file_gone() const;

  //   throws  what Storage::steps throws
  std::vector<search::Step> steps(int number);

 private:
  using Place = std::pair<uint64_t, uint64_t>;  // device and inode of a file; 0, 0 for none and on a server

  Place place() const;
  std::string look_for_trouble();
  bool open_anew();
  std::string gone() const;

  std::string url_;
  bool is_on_server_;
  Place place_;  // of what storage_ reads: a file that was deleted can be read on while it is open
  std::mutex mutex_;
  search::Storage storage_;
  search::StudyInfo info_;
  search::SearchSpace space_;
  TrialFeed feed_;
};

}  // namespace nibble::report
