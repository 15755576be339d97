// nibble/train/process_join.h
// How the processes of a group find each other, within one deadline (torch inside train/ only).
//
// The first process serves a store of names (c10d's TCPStore). Each other process signs in there; when all have, the
// first one says so, and Gloo connects each with each. c10d's own waiting is not used: it says nothing for as long as
// it lasts, and there is one after the other.
#pragma once

// Debian's torch is built with Gloo, but its headers show it only to those who ask.
#ifndef USE_C10D_GLOO
#define USE_C10D_GLOO
#endif
#include <string>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "nibble/train/process_group.h"

namespace nibble::train {

struct JoinedGroup {
  c10::intrusive_ptr<c10d::Store> store;  // lives as long as the group: Gloo reads it
  c10::intrusive_ptr<c10d::ProcessGroupGloo> group;
};

//   timeout  of each later call of the group
//   throws   ProcessLost, InvalidArgument as ProcessGroup's constructor
JoinedGroup join_group(const ProcessPlace& place, std::chrono::seconds timeout, const JoinOptions& options);

// The first line: torch adds where in its source it happened.
std::string first_line(const char* text);

}  // namespace nibble::train
