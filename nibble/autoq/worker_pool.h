// nibble/autoq/worker_pool.h
// The worker processes of a launcher. Private to autoq/.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "nibble/autoq/auto_qkeras.h"

namespace nibble::autoq {

class WorkerPool {
 public:
  //   spawn  empty: see SearchOptions::spawn
  //   study  its URL
  WorkerPool(SpawnWorker spawn, std::filesystem::path directory, std::string study);
  // finish_soon(), so that an exception leaves no process behind.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  void start(int count);
  // Returns how many ended since the last call. All that they did is in the study by then.
  int collect_ended();
  // Starts anew those that ended, but not one that gave up.
  void restart_ended();
  // True if a worker ended with an error of its own (no signal) twice in a row, with no note_progress() before
  // restart_ended(): a third try would meet the same, e.g. a full disk.
  bool has_given_up() const { return has_given_up_; }
  void note_progress();
  // Waits until all ended by themselves; tells them to stop (SIGTERM) after patience_ms, and kills
  // them if they do not.
  void finish(int patience_ms);
  // SIGTERM at once, so that trials are put back, and SIGKILL soon after.
  void finish_soon();

  // How the last worker that collect_ended() saw ended, with the end of its log; whole sentences.
  const std::string& last_words() const { return last_words_; }

 private:
  struct Worker {
    int k = 0;
    pid_t pid = -1;
    int errors = 0;  // in a row
  };
  void launch(Worker& worker);
  bool reap(int patience_ms);
  void finish(int patience_ms, int kill_after_ms);
  void signal_all(int signal) const;
  std::string words_of(const Worker& worker, int status) const;

  SpawnWorker spawn_;
  std::filesystem::path directory_;
  std::string study_;
  std::vector<Worker> workers_;
  std::string last_words_;
  bool has_given_up_ = false;
};

}  // namespace nibble::autoq
