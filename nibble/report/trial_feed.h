// nibble/report/trial_feed.h
// A study's trials as the dashboard's pages see them: all of them once, then what changed.
//
// A page says which version it has and gets, as JSON,
//   {"version": 12, "count": 40, "max_trials": 50, "is_over": false, "trouble": "", "metrics": ["accuracy", ...],
//    "rows": [[number, state, score, [metric, ...], [candidate, ...], epoch, attempts, seconds, reason], ...]}
// with the rows that changed since. Numbers that are not known are null; metrics are named by "metrics", which only
// ever grows at its end; candidates are indexes into the study's parameters, -1 for a value that is none of them.
// Where the study cannot be looked at any more, "trouble" says why.
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "nibble/search/storage.h"

namespace nibble::report {

// Safe to use from several threads.
class TrialFeed {
 public:
  //   begin  versions are above it
  TrialFeed(search::Storage& storage, search::SearchSpace space, int64_t begin = 0);

  // Looks at the study; true if anything is new.
  //   throws  what Storage throws
  bool refresh();
  // The storage is of another study by now: the next refresh() takes all of it.
  void begin_anew();

  // What is wrong with the study, for the pages; empty: nothing.
  void say(const std::string& trouble);
  std::string trouble() const;

  // The message for a page that has this version; 0 for one that has nothing.
  std::string since(int64_t version) const;
  // Waits until there is more than this version, or time is up, or end() was called. The version then.
  int64_t wait_beyond(int64_t version, std::chrono::milliseconds patience) const;
  void end();

  std::optional<search::Trial> trial(int number) const;

 private:
  std::string row_of(const search::Trial& trial);
  size_t metric_index(const std::string& name);

  search::Storage& storage_;
  search::SearchSpace space_;
  std::vector<std::map<std::string, int>> candidates_;  // of each parameter: text -> index

  std::mutex refreshing_;
  mutable std::mutex mutex_;
  mutable std::condition_variable news_;
  int64_t revision_ = -1;  // -1: all is to be read
  int64_t version_;
  bool ended_ = false, is_over_ = false;
  int max_trials_ = 0;
  std::string trouble_;
  std::vector<search::Trial> trials_;
  std::vector<std::string> rows_;  // as JSON
  std::vector<int64_t> changed_;   // version of each row
  std::vector<std::string> metrics_;
};

}  // namespace nibble::report
