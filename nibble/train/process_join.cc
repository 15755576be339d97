#include "nibble/train/process_join.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <numeric>
#include <thread>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <vector>

#include "nibble/train/process_probe.h"

namespace nibble::train {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Names in the store.
constexpr const char* kSize = "nibble/size";          // of the group that the first process waits for
constexpr const char* kMissing = "nibble/missing";    // those who have not come yet, as a text
constexpr const char* kComplete = "nibble/complete";  // set when all have come
std::string name_of(int rank) { return fmt::format("nibble/process/{}", rank); }

std::vector<uint8_t> bytes(const std::string& text) { return {text.begin(), text.end()}; }
std::string text(const std::vector<uint8_t>& bytes) { return {bytes.begin(), bytes.end()}; }

// "process 3", "processes 1, 2, 5", "processes 1, 2, 3, 4, 5, 6, 7, 8 and 90 more"
std::string named(const std::vector<int>& ranks) {
  constexpr size_t kMost = 8;
  const size_t count = std::min(ranks.size(), kMost);
  std::string result = fmt::format("{} {}", ranks.size() == 1 ? "process" : "processes",
                                   fmt::join(ranks.begin(), ranks.begin() + static_cast<std::ptrdiff_t>(count), ", "));
  if (ranks.size() > count) result += fmt::format(" and {} more", ranks.size() - count);
  return result;
}

enum class Stage { kReaching, kGathering, kConnecting };

struct Progress {
  Stage stage = Stage::kReaching;
  std::string detail = {};  // kReaching: why nobody answers; kGathering: who is missing. Empty where it is not known
  size_t missing = 0;       // kGathering, in the first process
};

// The deadline is over, or nobody waits any more.
struct TooLate {};

// One attempt to join. Calls of c10d cannot be interrupted, so run() has a thread of its own, and wait() looks at how
// far it is.
class Joining {
 public:
  Joining(const ProcessPlace& place, std::chrono::seconds timeout, milliseconds deadline)
      : place_(place), timeout_(timeout), limit_(deadline), deadline_(Clock::now() + deadline) {}

  void run() {
    std::exception_ptr error;
    try {
      if (place_.rank != 0) reach();
      make_store();
      if (place_.rank == 0) {
        gather();
      } else {
        sign_in();
      }
      report({Stage::kConnecting});
      connect();
    } catch (...) {
      error = std::current_exception();
    }
    const std::lock_guard lock(mutex_);
    error_ = error;
    is_over_ = true;
    over_.notify_all();
  }

  // Until run() is over, the deadline, or options.stop. False: run() goes on, and comes to its end by itself.
  bool wait(const JoinOptions& options) {
    std::unique_lock lock(mutex_);
    const auto is_over = [this] { return is_over_; };
    auto next_notice = Clock::now() + options.notice_after;
    std::string last_line;
    while (!over_.wait_for(lock, milliseconds(20), is_over)) {
      const auto now = Clock::now();
      is_stopped_ = options.stop != nullptr && *options.stop;
      if (is_stopped_ || now >= deadline_) break;
      if (now < next_notice) continue;
      next_notice = now + options.notice_after;
      const std::string line = notice();
      if (line.empty() || line == last_line || !options.notice) continue;
      last_line = line;
      options.notice(line);
    }
    is_abandoned_ = true;
    return over_.wait_for(lock, std::chrono::seconds(1), is_over);
  }

  // After wait().
  JoinedGroup result() {
    const std::lock_guard lock(mutex_);
    if (!is_over_) throw ProcessLost(why_late());
    if (!error_) return {store_, group_};
    try {
      std::rethrow_exception(error_);
    } catch (const TooLate&) {
      throw ProcessLost(why_late());
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {
      throw ProcessLost(why_failed(first_line(error.what())));
    }
  }

 private:
  void report(Progress progress) {
    const std::lock_guard lock(mutex_);
    progress_ = std::move(progress);
  }

  milliseconds remaining() const { return std::chrono::duration_cast<milliseconds>(deadline_ - Clock::now()); }

  void pause(milliseconds time) const {
    if (is_abandoned_ || Clock::now() >= deadline_) throw TooLate();
    std::this_thread::sleep_for(time);
  }

  void reach() {
    while (true) {
      const milliseconds limit = std::clamp(remaining(), milliseconds(1), milliseconds(2000));
      const std::string why = why_unreachable(place_.address, place_.port, limit);
      report({Stage::kReaching, why});
      if (why.empty()) return;
      pause(milliseconds(100));
    }
  }

  void make_store() {
    c10d::TCPStoreOptions options;
    options.port = place_.port;
    options.isServer = place_.rank == 0;
    options.numWorkers = static_cast<size_t>(place_.size);
    options.waitWorkers = false;
    options.timeout = std::max(remaining(), milliseconds(1000));  // counted in whole seconds; 0 would be none
    store_ = c10::make_intrusive<c10d::TCPStore>(place_.address, options);
  }

  // The first process: until the others have signed in.
  void gather() {
    std::vector<int> missing(static_cast<size_t>(place_.size - 1));
    std::iota(missing.begin(), missing.end(), 1);
    store_->set(kSize, bytes(std::to_string(place_.size)));
    while (!missing.empty()) {
      const std::string who = named(missing);
      report({Stage::kGathering, who, missing.size()});
      store_->set(kMissing, bytes(who));
      pause(milliseconds(50));
      std::erase_if(missing, [this](int rank) { return store_->check({name_of(rank)}); });
    }
    store_->set(kComplete, bytes("yes"));
  }

  void sign_in() {
    while (!store_->check({kSize})) pause(milliseconds(20));
    const std::string size = text(store_->get(kSize));
    if (size != std::to_string(place_.size)) {
      throw InvalidArgument(
          "[data-parallel] process {} was started as one of {}, but process 0 at {}:{} as one of {}. Start all of them "
          "with the same number of processes, and jobs side by side with a MASTER_PORT each.",
          place_.rank, place_.size, place_.address, place_.port, size);
    }
    if (store_->add(name_of(place_.rank), 1) > 1) {
      throw InvalidArgument(
          "[data-parallel] two processes at {}:{} were started as process {} of {}. Give each a rank of its own, and "
          "jobs side by side a MASTER_PORT each.",
          place_.address, place_.port, place_.rank, place_.size);
    }
    report({Stage::kGathering});
    while (!store_->check({kComplete})) {
      if (store_->check({kMissing})) report({Stage::kGathering, text(store_->get(kMissing))});
      pause(milliseconds(50));
    }
  }

  void connect() {
    auto options = c10d::ProcessGroupGloo::Options::create(timeout_);
    const bool is_local = place_.address == "127.0.0.1" || place_.address == "localhost";
    options->devices = {is_local ? c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1")
                                 : c10d::ProcessGroupGloo::createDefaultDevice()};
    options->threads = 2;
    group_ = c10::make_intrusive<c10d::ProcessGroupGloo>(store_, place_.rank, place_.size, options);
  }

  // What the user sees while it lasts; nothing where another process says it.
  std::string notice() const {
    if (place_.rank != 0) {
      if (progress_.stage != Stage::kReaching) return {};
      return fmt::format("process {} of {} waits for process 0 at {}:{} ({})", place_.rank, place_.size, place_.address,
                         place_.port, progress_.detail.empty() ? "no answer" : progress_.detail);
    }
    if (progress_.stage != Stage::kGathering) return {};
    return fmt::format("waiting for {} processes at {}:{} ({} of {} here; missing: {})", place_.size, place_.address,
                       place_.port, static_cast<size_t>(place_.size) - progress_.missing, place_.size,
                       progress_.detail);
  }

  std::string what_is_missing() const {
    switch (progress_.stage) {
      case Stage::kReaching:
        if (place_.rank == 0) return "this address does not lead back to it, though it must be that of process 0";
        if (progress_.detail.empty()) return "what listens there does not answer as process 0 does";
        return fmt::format("process 0 does not listen there ({})", progress_.detail);
      case Stage::kGathering:
        return progress_.detail.empty() ? "not all processes came" : progress_.detail + " did not come";
      case Stage::kConnecting:
        break;
    }
    return "all processes came, but not all of them reach each other (a firewall, or a host whose own name stands for "
           "127.0.0.1)";
  }

  std::string why_late() const {
    if (is_stopped_) {
      return fmt::format("[data-parallel] process {} of {} was stopped while it waited at {}:{}: {}.", place_.rank,
                         place_.size, place_.address, place_.port, what_is_missing());
    }
    return fmt::format(
        "[data-parallel] process {} of {} waited for {:g} s at {}:{}: {}. Start all {} processes, with the same "
        "MASTER_ADDR and MASTER_PORT; if they need longer to start, NIBBLE_JOIN_TIMEOUT gives them more seconds.",
        place_.rank, place_.size, std::chrono::duration<double>(limit_).count(), place_.address, place_.port,
        what_is_missing(), place_.size);
  }

  std::string why_failed(const std::string& why) const {
    const std::string who = fmt::format("[data-parallel] process {} of {}", place_.rank, place_.size);
    const std::string where = fmt::format("{}:{}", place_.address, place_.port);
    if (progress_.stage == Stage::kConnecting) {
      return fmt::format(
          "{}: all processes came to {}, but this one could not connect to each of them ({}). Did another one end? "
          "Else "
          "see that their hosts reach each other by the names that 'hostname' gives.",
          who, where, why);
    }
    if (progress_.stage == Stage::kGathering) {
      return fmt::format(
          "{}: process 0 at {} ended while {} ({}). See what it said, and start all of them again.", who, where,
          progress_.detail.empty() ? "others were awaited" : progress_.detail + " had not come yet", why);
    }
    return fmt::format("{} could not {} {} ({}). Is the port another program's? MASTER_PORT chooses another.", who,
                       place_.rank == 0 ? "listen at" : "join process 0 at", where, why);
  }

  const ProcessPlace place_;
  const std::chrono::seconds timeout_;
  const milliseconds limit_;
  const Clock::time_point deadline_;
  // Of the thread that runs, until it is over.
  c10::intrusive_ptr<c10d::Store> store_;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> group_;

  std::atomic<bool> is_abandoned_{false};
  bool is_stopped_ = false;
  std::mutex mutex_;  // of what follows
  std::condition_variable over_;
  Progress progress_;
  bool is_over_ = false;
  std::exception_ptr error_;
};

}  // namespace

std::string first_line(const char* text) {
  const std::string_view view(text);
  return std::string(view.substr(0, view.find('\n')));
}

JoinedGroup join_group(const ProcessPlace& place, std::chrono::seconds timeout, const JoinOptions& options) {
  const auto joining = std::make_shared<Joining>(place, timeout, options.deadline);
  std::thread thread([joining] { joining->run(); });
  if (joining->wait(options)) {
    thread.join();
  } else {
    thread.detach();  // in a call of c10d; it owns all that it needs
  }
  return joining->result();
}

}  // namespace nibble::train
