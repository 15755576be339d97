// nibble/cli/worker_processes.h
// Processes of this program that work beside a command which only watches.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace nibble::cli {

class WorkerProcesses {
 public:
  //   arguments  what follows the program's name, of each
  //   threads    for the math libraries of each
  //   logs       worker-1.log, ... are written there, anew
  WorkerProcesses(const std::vector<std::string>& arguments, int count, int threads, const std::filesystem::path& logs);
  // Ends what is left: SIGTERM, and SIGKILL soon after.
  ~WorkerProcesses();
  WorkerProcesses(const WorkerProcesses&) = delete;
  WorkerProcesses& operator=(const WorkerProcesses&) = delete;

  // How many have not ended yet.
  int running();
  // How the first that failed has ended, a sentence; "" while none has.
  const std::string& failure() const { return failure_; }
  // Waits until all have ended by themselves, and stops what has not after patience_ms.
  void finish(int patience_ms);
  // Asks them to stop, and kills what has not after patience_ms.
  void stop(int patience_ms);

 private:
  struct Worker {
    pid_t pid = -1;
    std::filesystem::path log;
  };
  void signal_all(int number) const;
  bool wait_for_all(int patience_ms);

  std::vector<Worker> workers_;
  std::string failure_;
};

}  // namespace nibble::cli
