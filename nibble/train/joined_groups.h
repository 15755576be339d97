// nibble/train/joined_groups.h
// For tests: the groups of several processes, which are threads there.
#pragma once

#include <chrono>
#include <future>
#include <memory>
#include <vector>

#include "nibble/train/process_group.h"
#include "support/reserved_port.h"

namespace nibble::train {

// When all have joined: a process that ends at once would close its connections while another still waits for them.
// Each waits minutes for the others: on a busy machine one may stand still for long.
inline std::vector<std::shared_ptr<ProcessGroup>> joined_groups(int size) {
  const testing::ReservedPort port;
  std::vector<std::future<std::shared_ptr<ProcessGroup>>> joining;
  for (int rank = 0; rank < size; ++rank) {
    joining.push_back(std::async(std::launch::async, [&port, rank, size] {
      return std::make_shared<ProcessGroup>(ProcessPlace{rank, size, "127.0.0.1", port.number()},
                                            std::chrono::minutes(5));
    }));
  }
  std::vector<std::shared_ptr<ProcessGroup>> groups;
  for (auto& process : joining) groups.push_back(process.get());
  return groups;
}

}  // namespace nibble::train
