// nibble/formats/keras/isolated_process.h
// Answers questions in a child process, so that a crash or an endless loop there is an answer too.
//
// libhdf5 1.10 copies heap objects by sizes found in the file: one wrong byte can end the process. Reading a file from
// outside therefore happens in a fork, which has the file's bytes without copying them and nothing to lose.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace nibble::formats::keras {

class IsolatedProcess {
 public:
  using Serve = std::function<std::string(std::string_view request)>;

  struct Limits {
    uint64_t memory_bytes;  // address space beyond what the child has at its start; not limited in sanitizers' builds,
                            // which reserve terabytes
    uint64_t cpu_s;         // of its whole life
  };

  // Forks. `start` runs in the child and gives what answers the requests there; it must not let exceptions out, nor
  // take locks that another thread of the parent may hold. The child ends with the thread that calls this.
  //   throws  IoError if the system gives no process
  IsolatedProcess(const Limits& limits, const std::function<Serve()>& start);
  ~IsolatedProcess();
  IsolatedProcess(const IsolatedProcess&) = delete;
  IsolatedProcess& operator=(const IsolatedProcess&) = delete;

  // The child's answer; nothing if the child died, was silent for half a minute or has more than `largest_answer` bytes
  // to say. No child is left after that: every later call gives nothing.
  std::optional<std::string> call(std::string_view request, uint64_t largest_answer);

 private:
  void end();
  pid_t child_ = -1;
  int socket_ = -1;
};

}  // namespace nibble::formats::keras
