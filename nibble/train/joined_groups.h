// nibble/train/joined_groups.h
// For tests: the groups of several processes, which are threads there.
#pragma once

#include <chrono>
#include <future>
#include <memory>
#include <vector>

#include "nibble/train/process_group.h"

namespace nibble::train {

// When all have joined: a process that ends at once would close its connections while another still waits for them.
inline std::vector<std::shared_ptr<ProcessGroup>> joined_groups(int size, uint16_t port, std::chrono::seconds timeout) {
  std::vector<std::future<std::shared_ptr<ProcessGroup>>> joining;
  for (int rank = 0; rank < size; ++rank) {
    joining.push_back(std::async(std::launch::async, [=] {
      return std::make_shared<ProcessGroup>(ProcessPlace{rank, size, "127.0.0.1", port}, timeout);
    }));
  }
  std::vector<std::shared_ptr<ProcessGroup>> groups;
  for (auto& process : joining) groups.push_back(process.get());
  return groups;
}

}  // namespace nibble::train
