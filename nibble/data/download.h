// nibble/data/download.h
// Fetches one file of known size and SHA-256 over HTTP(S), by libcurl.
//
// The bytes go to TARGET.part, which is locked, so that two processes fetch a file once. A transfer that was cut off
// goes on from where it stopped (Range), in this call or in a later one; a server that
// ignores Range sends everything again. Only a file whose size and SHA-256 are accepted gets
// the name TARGET; one that does not match is removed.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::data {

// Bytes of one file: what has arrived, and the total that is expected.
using DownloadProgress = std::function<void(std::string_view file, uint64_t done_bytes, uint64_t total_bytes)>;

// One version of a file's bytes.
struct FileVersion {
  uint64_t bytes = 0;
  std::string sha256 = {};  // 64 lower-case hexadecimal digits
};

struct DownloadOptions {
  std::vector<std::string> urls = {};      // tried in order; https, or http where `allow_http` is set
  std::filesystem::path target = {};       // its folder must exist
  std::vector<FileVersion> accepted = {};  // any of these is right
  bool allow_http = false;                 // for a server that the user named; SHA-256 guards the bytes all the same
  int attempts = 4;                        // per URL; only a cut-off transfer or a busy server is tried again
  int retry_wait_ms = 500;                 // before the second attempt; doubled each time
  int connect_timeout_s = 5;               // no network must be noticed soon
  int stall_timeout_s = 30;                // no byte for that long ends an attempt
  DownloadProgress progress = {};
  const std::atomic<bool>* stop = nullptr;  // true ends the transfer; what has arrived is kept for later
};

//   throws  IoError with one reason per URL: no connection, refused by the server, cut off, wrong
//           length, wrong SHA-256, no room on the disk; TARGET is then as it was before
void download_file(const DownloadOptions& options);

}  // namespace nibble::data
