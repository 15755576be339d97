// nibble/train/process_group.h
// The processes that train one network together, each with its share of every batch (data-parallel training).
//
// They are started by torchrun, mpirun or srun, and find each other by the variables that these set. Sums go through
// torch.distributed's C++ library (c10d over Gloo, TCP). All processes must make the same calls in the same order.
// Torch stays behind this header.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "nibble/core/error.h"

namespace nibble::train {

// Which process this is, and where the first one listens.
struct ProcessPlace {
  int rank = 0, size = 1;
  std::string address = "127.0.0.1";
  uint16_t port = 29500;
  bool operator==(const ProcessPlace&) const = default;
};

// Reads a variable of the environment; nothing where it is not set.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;
Environment process_environment();

// The place that a launcher gave to this process; nothing where it was started alone, or as the only one.
//   torchrun  RANK, WORLD_SIZE;  mpirun  OMPI_COMM_WORLD_RANK/_SIZE or PMI_RANK/_SIZE;  srun  SLURM_PROCID,
//   SLURM_STEP_NUM_TASKS.  MASTER_ADDR and MASTER_PORT say where the first process listens; without them it is this
//   host, if all processes run on it, and a port made from the name of the job.
//   throws  InvalidArgument naming the variable with a value that cannot be, the one of a pair that is missing, or the
//           missing MASTER_ADDR
std::optional<ProcessPlace> place_of_process(const Environment& environment);

// How a process waits for the others to come.
struct JoinOptions {
  std::chrono::milliseconds deadline = std::chrono::minutes(5);  // over all of joining
  // Told what is awaited after this time, and again, no sooner than that, when it has changed.
  std::chrono::milliseconds notice_after = std::chrono::seconds(5);
  std::function<void(const std::string& line)> notice = {};
  const std::atomic<bool>* stop = nullptr;  // true ends the waiting
};

// The deadline that NIBBLE_JOIN_TIMEOUT gives, in seconds; else the default.
//   throws  InvalidArgument unless it is a whole number from 1 to 86400
std::chrono::milliseconds join_deadline(const Environment& environment);

// Another process of the group ended, or did not answer in time.
class ProcessLost : public Error {
 public:
  using Error::Error;
};

class ProcessGroup {
 public:
  // Waits until all processes have joined.
  //   timeout  of every later call
  //   throws   ProcessLost if one does not come, saying who; InvalidArgument for a rank outside 0 .. size-1, one that
  //            another process has, or a size that is not that of the first process
  ProcessGroup(const ProcessPlace& place, std::chrono::seconds timeout, const JoinOptions& join = {});
  ~ProcessGroup();

  int rank() const { return place_.rank; }
  int size() const { return place_.size; }
  bool is_first() const { return place_.rank == 0; }

  // The sum over all processes, in place; the same bits in each of them.
  //   throws  ProcessLost
  void sum(std::span<double> values);
  void sum(std::span<float> values);

  // A text of each process, in the order of ranks; the same in each of them. Each may give another one.
  //   throws  ProcessLost
  std::vector<std::string> gather(const std::string& own);

 private:
  struct Impl;
  ProcessPlace place_;
  std::chrono::seconds timeout_;
  std::unique_ptr<Impl> impl_;
};

// The samples first .. first+count-1 of a batch that a process computes.
struct Share {
  int64_t first = 0, count = 0;
  bool operator==(const Share&) const = default;
};

// Shares are even but for units of `unit` samples, which stay whole: random numbers are drawn by the unit.
//   throws  InvalidArgument if a process would have nothing to do
Share share_of(int64_t batch, int rank, int size, int64_t unit);

// The largest unit smallest * 2^k <= largest with which no process gets more than 5/4 of an even share; smallest where
// there is none.
int64_t unit_of_shares(int64_t batch, int size, int64_t smallest, int64_t largest);

}  // namespace nibble::train
