#include "nibble/data/download.h"

#include <curl/curl.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>

#include "nibble/core/error.h"
#include "nibble/data/checksum.h"
#include "nibble/data/part_file.h"

namespace nibble::data {
namespace {

constexpr long kHttpOk = 200, kHttpPartial = 206, kHttpRangeRefused = 416, kHttpTooMany = 429, kHttpServerError = 500;

using Curl = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;

// What one attempt came to.
enum class Outcome {
  kComplete,     // the server sent everything that it has
  kInterrupted,  // worth another attempt on this URL
  kWrongBytes,   // not the file that is wanted
  kRefused,      // no use in asking this URL again
  kStopped,      // by options.stop
};

struct Attempt {
  Outcome outcome = Outcome::kRefused;
  std::string reason = {};  // of an outcome other than kComplete
};

// State that libcurl's callbacks share.
struct Transfer {
  CURL* curl;
  PartFile& part;
  const DownloadOptions& options;
  uint64_t limit_bytes;  // more than that is certainly not the file
  uint64_t resumed_from;
  bool is_checked = false;  // the status line was looked at
  bool range_refused = false;
  bool is_too_long = false;
  int write_errno = 0;
};

bool is_stopped(const DownloadOptions& options) { return options.stop != nullptr && options.stop->load(); }

uint64_t largest_version(const DownloadOptions& options) {
  uint64_t bytes = 0;
  for (const FileVersion& version : options.accepted) bytes = std::max(bytes, version.bytes);
  return bytes;
}

// The first bytes of the body: does the server go on where we stopped, or does it begin anew?
void begin_body(Transfer& transfer) {
  transfer.is_checked = true;
  long status = 0;
  curl_easy_getinfo(transfer.curl, CURLINFO_RESPONSE_CODE, &status);
  if (status == kHttpOk && transfer.resumed_from > 0) transfer.part.clear();
}

size_t on_body(char* bytes, size_t, size_t count, void* state) {
  Transfer& transfer = *static_cast<Transfer*>(state);
  if (!transfer.is_checked) begin_body(transfer);
  if (transfer.part.size() + count > transfer.limit_bytes) {
    transfer.is_too_long = true;
    return 0;
  }
  if (transfer.part.append({bytes, count})) return count;
  transfer.write_errno = errno;
  return 0;
}

int on_progress(void* state, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const Transfer& transfer = *static_cast<Transfer*>(state);
  if (transfer.options.progress) {
    transfer.options.progress(transfer.options.target.filename().string(), transfer.part.size(), transfer.limit_bytes);
  }
  return is_stopped(transfer.options) ? 1 : 0;
}

void set_certificates(CURL* curl) {
  // Where companies inspect traffic, these variables carry their certificate; the curl program
  // honours them, the library does not.
  for (const char* name : {"CURL_CA_BUNDLE", "SSL_CERT_FILE"}) {
    if (const char* path = std::getenv(name); path != nullptr && *path != '\0') {
      curl_easy_setopt(curl, CURLOPT_CAINFO, path);
      return;
    }
  }
}

void set_up(CURL* curl, const std::string& url, Transfer& transfer, char* error_text) {
  const DownloadOptions& options = transfer.options;
  const char* protocols = options.allow_http ? "http,https" : "https";
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, protocols);
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, protocols);
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 5L);
  curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);  // threads: no SIGALRM for time-outs
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "nibble");
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, static_cast<long>(options.connect_timeout_s));
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(options.stall_timeout_s));
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error_text);
  set_certificates(curl);
  if (transfer.resumed_from > 0) {
    // CURLOPT_RANGE and not CURLOPT_RESUME_FROM: with the latter, a server that ignores Range is an error.
    curl_easy_setopt(curl, CURLOPT_RANGE, fmt::format("{}-", transfer.resumed_from).c_str());
  }
}

Attempt judge(CURLcode code, const Transfer& transfer, const char* error_text) {
  long status = 0;
  curl_easy_getinfo(transfer.curl, CURLINFO_RESPONSE_CODE, &status);
  if (transfer.write_errno != 0) {
    return {Outcome::kRefused,
            fmt::format("cannot write {}: {}", transfer.part.path().string(), std::strerror(transfer.write_errno))};
  }
  if (transfer.is_too_long) {
    return {Outcome::kWrongBytes, fmt::format("the file is longer than the expected {} bytes", transfer.limit_bytes)};
  }
  switch (code) {
    case CURLE_OK:
      return {Outcome::kComplete};
    case CURLE_ABORTED_BY_CALLBACK:
      return {Outcome::kStopped, "stopped"};
    case CURLE_HTTP_RETURNED_ERROR: {
      const bool is_busy = status >= kHttpServerError || status == kHttpTooMany || status == kHttpRangeRefused;
      return {is_busy ? Outcome::kInterrupted : Outcome::kRefused, fmt::format("the server answered {}", status)};
    }
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
      return {Outcome::kInterrupted, fmt::format("the connection was cut off after {} bytes", transfer.part.size())};
    case CURLE_OPERATION_TIMEDOUT:
      // Without a status line it was the connection that took too long: no network, most likely.
      return {status == 0 ? Outcome::kRefused : Outcome::kInterrupted, error_text};
    default:
      return {Outcome::kRefused, *error_text != '\0' ? error_text : curl_easy_strerror(code)};
  }
}

// Empty if the part is one of the accepted versions, else a sentence.
std::string verify(const PartFile& part, const DownloadOptions& options) {
  std::string sizes;
  for (const FileVersion& version : options.accepted) {
    if (version.bytes == part.size()) {
      const std::string sha256 = sha256_of_file(part.path());
      if (sha256 == version.sha256) return "";
      return fmt::format("its SHA-256 is {}, but {} is expected", sha256, version.sha256);
    }
    sizes += fmt::format("{}{}", sizes.empty() ? "" : " or ", version.bytes);
  }
  return fmt::format("it has {} bytes, but {} are expected", part.size(), sizes);
}

bool has_length(CURL* curl) {
  curl_off_t length = -1;
  curl_easy_getinfo(curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
  return length >= 0;
}

Attempt transfer_once(const std::string& url, PartFile& part, const DownloadOptions& options) {
  const Curl curl(curl_easy_init(), &curl_easy_cleanup);
  if (curl == nullptr) return {Outcome::kRefused, "libcurl cannot be set up"};
  char error_text[CURL_ERROR_SIZE] = "";
  Transfer transfer{curl.get(), part, options, largest_version(options), part.size()};
  set_up(curl.get(), url, transfer, error_text);
  const CURLcode code = curl_easy_perform(curl.get());
  Attempt attempt = judge(code, transfer, error_text);
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  // 416: what we hold is not the beginning of what is there. A full disk wants its room back.
  if (status == kHttpRangeRefused || transfer.write_errno != 0) part.clear();
  if (attempt.outcome == Outcome::kComplete) {
    attempt.reason = verify(part, options);
    const bool is_short = part.size() < transfer.limit_bytes;
    if (!attempt.reason.empty()) attempt.outcome = Outcome::kWrongBytes;
    // Without a length from the server, the end of the body and a cut look the same.
    if (!attempt.reason.empty() && is_short && !has_length(curl.get())) attempt.outcome = Outcome::kInterrupted;
  }
  return attempt;
}

void wait_before_retry(const DownloadOptions& options, int attempt) {
  const auto total = std::chrono::milliseconds(options.retry_wait_ms) * (1 << std::min(attempt, 10));
  const auto end = std::chrono::steady_clock::now() + total;
  while (std::chrono::steady_clock::now() < end && !is_stopped(options)) {
    std::this_thread::sleep_for(std::min<std::chrono::nanoseconds>(std::chrono::milliseconds(50), total));
  }
}

// Empty once the part is complete and verified, else why this URL did not serve.
std::string try_url(const std::string& url, PartFile& part, const DownloadOptions& options) {
  std::string reason;
  for (int attempt = 0; attempt < options.attempts; ++attempt) {
    if (attempt > 0) wait_before_retry(options, attempt - 1);
    const uint64_t resumed_from = part.size();
    const Attempt result = transfer_once(url, part, options);
    reason = result.reason;
    switch (result.outcome) {
      case Outcome::kComplete:
        return "";
      case Outcome::kStopped:
        throw IoError("[download] {} was stopped; {} bytes are kept for the next time.", options.target.string(),
                      part.size());
      case Outcome::kRefused:
        return reason;
      case Outcome::kWrongBytes:
        part.clear();
        // A part left by an earlier run may have been of another version; bytes from one go are final.
        if (resumed_from == 0) return reason;
        break;
      case Outcome::kInterrupted:
        break;
    }
  }
  return fmt::format("{} ({} attempts)", reason, options.attempts);
}

}  // namespace

void download_file(const DownloadOptions& options) {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (initialised != CURLE_OK) throw IoError("[download] libcurl: {}.", curl_easy_strerror(initialised));
  PartFile part(options.target);
  std::error_code error;
  if (std::filesystem::exists(options.target, error)) {  // another process fetched it while we waited
    part.clear();
    return;
  }
  // An earlier run may have been stopped between the last byte and the renaming.
  if (part.size() > 0 && verify(part, options).empty()) return part.finish();
  if (part.size() >= largest_version(options)) part.clear();
  std::string reasons;
  for (const std::string& url : options.urls) {
    const std::string reason = try_url(url, part, options);
    if (reason.empty()) return part.finish();
    reasons += fmt::format("{}{}: {}", reasons.empty() ? "" : "; ", url, reason);
  }
  throw IoError("[download] {} could not be fetched. {}.", options.target.filename().string(), reasons);
}

}  // namespace nibble::data
