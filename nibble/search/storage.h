// nibble/search/storage.h
// A study in a database: what is searched, the trials, who runs them, what they reported.
//
// Any number of processes may open the same study. A worker claims a trial, renews its lease
// while it works, and completes it; each step is one transaction, and each checks that the
// attempt still is the current one. So a trial is completed exactly once: a worker that lost its
// lease (it hung, its machine slept) is told so and its result is dropped.
//
//   waiting --claim--> running --complete/fail--> completed / failed
//      ^                  |
//      +--- release, or the lease ran out, or the worker is known to be dead
//
// A URL (study_url.h) is a path of a SQLite file, or "postgresql://...?study=NAME" for workers on many machines. The
// SQL is what both understand; database_backend.h holds what they do differently. SQLite runs in WAL mode, which needs
// a local file system.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/search/sampler.h"
#include "nibble/search/study.h"

namespace nibble::search {

// Written once, when a study is made.
struct StudyInfo {
  std::string name = {};
  // code_version() of the program that made it, then of others that went on with it: "A; then B".
  std::string code_version = {};
  std::string run_config = {};  // JSON text, as given
  std::string space = {};       // to_json(SearchSpace)
  uint64_t seed = 0;
  int max_trials = 0;
  // What else trials follow from, as JSON text of whoever searches; empty where an earlier version made the study.
  std::string inputs = {};
  bool operator==(const StudyInfo&) const = default;
};

// True if code_version names this one.
bool names_version(const StudyInfo& info, std::string_view code_version);

struct StorageOptions {
  int busy_timeout_s = 60;  // how long to wait for another process's transaction
  int64_t lease_ms = 60'000;
  // A trial whose worker died this often without a new step in between is marked failed: it probably kills every
  // worker.
  int max_deaths = 3;
  // Milliseconds since 1970; replaced by tests.
  std::function<int64_t()> clock = {};
};

// Safe to use from several threads; they take turns.
class Storage {
 public:
  static constexpr int kSchemaVersion = 2;  // 1 had no inputs

  // Makes a new study.
  //   throws  InvalidArgument if there is one already, IoError naming file and reason
  static Storage create(const std::string& url, const StudyInfo& info, StorageOptions options = {});
  //   throws  IoError if there is no such file or it cannot be read, CorruptFile if it is no study or
  //           damaged, Unsupported if a newer program wrote it
  static Storage open(const std::string& url, StorageOptions options = {});
  // False if there is no file or schema, or one without any table: create() was ended in between and can be called
  // again.
  //   throws  as open(), if there is a file
  static bool holds_study(const std::string& url);
  // Removes a study and its trials from the database for good.
  //   throws  as open()
  static void remove(const std::string& url);
  // Names of the studies on a server (study_url.h), sorted.
  //   throws  IoError, InvalidArgument
  static std::vector<std::string> studies_on(const std::string& server);

  Storage(Storage&&) noexcept;
  Storage& operator=(Storage&&) noexcept;
  ~Storage();

  // ---- reading ----
  StudyInfo info() const;
  std::vector<Trial> trials() const;  // by number
  std::vector<Step> steps(int number) const;
  // Grows with every change, so that a viewer can ask cheaply whether there is anything new.
  int64_t revision() const;
  int64_t lease_ms() const;
  // Running trials whose lease holds: workers are at them, or died a moment ago.
  int held_trials() const;
  // No trial is waiting or running, and there will be no new one.
  bool is_over() const;

  // ---- working ----
  struct Claim {
    int number = -1;
    int attempt = 0;  // 1, 2, ...
    Assignment values;
    std::vector<Step> steps;  // what earlier attempts reported
  };
  // Takes the trial with the lowest number that waits or whose lease ran out; else proposes a new
  // one, until there are max_trials. Nothing if there is nothing to do now (see is_over()).
  std::optional<Claim> claim(const std::string& worker, const SearchSpace& space, const Sampler& sampler);

  // These return false, and do nothing, if the attempt no longer is the current one. Metrics that are NaN or infinite
  // are left out.
  bool renew(const Claim& claim);                     // a new lease from now
  bool report(const Claim& claim, const Step& step);  // replaces an earlier report of that step; renews
  bool complete(const Claim& claim, double score, const Metrics& metrics, const std::string& artifact);
  bool fail(const Claim& claim, const std::string& reason);
  bool release(const Claim& claim);  // back to waiting: ended by Ctrl-C, to be gone on with

  // As if the worker had died of the attempt: back to waiting, or failed after max_deaths. True if it failed; false
  // also if the attempt no longer is the current one.
  bool abandon(const Claim& claim);

  // Puts the running trials of workers that are known to be dead back to waiting, without waiting for
  // their leases. Returns how many.
  int release_dead(const std::function<std::optional<bool>(std::string_view worker)>& is_alive);

  // More (or fewer) trials than first asked for.
  void set_max_trials(int max_trials);

  // Another version goes on with the study. Nothing happens if it is named already.
  void add_code_version(const std::string& code_version);

 private:
  struct Impl;
  explicit Storage(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace nibble::search
