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
  WorkerPool(SpawnWorker spawn, std::filesystem::path directory);
  // Kills what is left, so that an exception leaves no process behind.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  void start(int count);
  // Starts anew the workers that ended; returns how many did.
  int replace_ended();
  // Waits until all ended by themselves; tells them to stop (SIGTERM) after patience_ms, and kills
  // them if they do not.
  void finish(int patience_ms);

  // How the last worker that replace_ended() saw ended, with the end of its log.
  const std::string& last_words() const { return last_words_; }

 private:
  struct Worker {
    int k = 0;
    pid_t pid = -1;
  };
  void launch(Worker& worker);
  bool reap(int patience_ms);
  void signal_all(int signal) const;
  std::string words_of(const Worker& worker, int status) const;

  SpawnWorker spawn_;
  std::filesystem::path directory_;
  std::vector<Worker> workers_;
  std::string last_words_;
};

}  // namespace nibble::autoq
