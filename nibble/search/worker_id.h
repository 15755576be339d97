// nibble/search/worker_id.h
// Names of worker processes, by which a launcher sees whether one is dead.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace nibble::search {

// "host/pid/start": start is the kernel's start time of the process, so that a reused pid is
// not taken for the worker that had it before.
std::string this_worker_id();
std::string worker_id_of(int pid);  // of a process on this machine

// True or false for a process of this machine; nothing for another machine or a text that is no
// worker id: there only the lease tells.
std::optional<bool> is_alive(std::string_view worker_id);

}  // namespace nibble::search
