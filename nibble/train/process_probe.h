// nibble/train/process_probe.h
// Whether somebody listens at a place, quietly: torch's own attempts to connect write to standard error.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace nibble::train {

// Why nothing answers there ("Connection refused"); empty where something does.
//   limit  of each of the host's addresses
std::string why_unreachable(const std::string& host, uint16_t port, std::chrono::milliseconds limit);

}  // namespace nibble::train
