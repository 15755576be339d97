// nibble/autoq/launcher.h
// Keeps the workers of a study going until it is over, or a stop is asked for. Private to autoq/.
#pragma once

#include "nibble/autoq/auto_qkeras.h"
#include "nibble/autoq/study_watch.h"
#include "nibble/autoq/worker_pool.h"
#include "nibble/search/storage.h"

namespace nibble::autoq {

class Launcher {
 public:
  // Both must outlive it.
  Launcher(const SearchOptions& options, search::Storage& storage, int workers);

  // All of a search's result but missed_bound.
  //   throws  IoError with the workers' last words if they cannot work
  SearchResult run();

 private:
  bool stopped() const;
  int open_trials() const;
  void put_back_soon() noexcept;
  void supervise();
  SearchResult result() const;

  const SearchOptions& options_;
  search::Storage& storage_;
  int workers_;
  StudyWatch watch_;
  WorkerPool pool_;  // last: its workers end before the rest does
};

}  // namespace nibble::autoq
