#include "nibble/search/worker_id.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <sstream>

namespace nibble::search {
namespace {

std::string host_name() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "unknown-host";
  return name.data();
}

// Field 22 of /proc/PID/stat, in clock ticks since boot; "0" where there is no such file.
// A zombie counts as gone.
std::string start_time(int pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string line;
  if (!std::getline(file, line)) return "0";
  // The second field is the program's name in parentheses and may hold blanks.
  const size_t end = line.rfind(')');
  if (end == std::string::npos) return "0";
  std::istringstream fields(line.substr(end + 1));
  std::string field;
  for (int index = 3; index <= 22; ++index) {
    if (!(fields >> field)) return "0";
    if (index == 3 && (field == "Z" || field == "X")) return "dead";
  }
  return field;
}

}  // namespace

std::string worker_id_of(int pid) { return fmt::format("{}/{}/{}", host_name(), pid, start_time(pid)); }

std::string this_worker_id() { return worker_id_of(getpid()); }

std::optional<bool> is_alive(std::string_view worker_id) {
  const size_t last = worker_id.rfind('/');
  if (last == std::string_view::npos || last == 0) return std::nullopt;
  const size_t first = worker_id.rfind('/', last - 1);
  if (first == std::string_view::npos || worker_id.substr(0, first) != host_name()) return std::nullopt;
  const std::string_view digits = worker_id.substr(first + 1, last - first - 1);
  int pid = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), pid);
  if (error != std::errc() || end != digits.data() + digits.size() || pid <= 0) return std::nullopt;
  if (kill(pid, 0) != 0 && errno == ESRCH) return false;
  return start_time(pid) == worker_id.substr(last + 1);
}

}  // namespace nibble::search
