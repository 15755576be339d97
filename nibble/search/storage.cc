#include "nibble/search/storage.h"

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "nibble/core/error.h"
#include "nibble/search/database.h"
#include "nibble/search/study_tables.h"
#include "nibble/search/study_url.h"

namespace nibble::search {
namespace {

using soci::into;
using soci::use;

int64_t system_clock_ms() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

constexpr std::string_view kThen = "; then ";

bool names(std::string_view versions, std::string_view version) {
  for (size_t begin = 0; begin <= versions.size();) {
    const size_t end = std::min(versions.find(kThen, begin), versions.size());
    if (versions.substr(begin, end - begin) == version) return true;
    begin = end + kThen.size();
  }
  return false;
}

}  // namespace

bool names_version(const StudyInfo& info, std::string_view code_version) {
  return names(info.code_version, code_version);
}

struct Storage::Impl {
  Impl(const std::string& url, bool make, StorageOptions given)
      : database(url, make, given.busy_timeout_s), options(std::move(given)) {
    if (!options.clock) options.clock = system_clock_ms;
  }

  void check_schema() {
    int version = 0, rows = 0;
    database.read("find a study", [&](soci::session& sql) {
      sql << "SELECT count(*), max(schema_version) FROM study WHERE id = 1", into(rows), into(version);
      return 0;
    });
    if (rows != 1 || version < 1) {
      throw CorruptFile("[study] '{}' holds no study of nibble, or it is damaged.", database.name());
    }
    if (version > kSchemaVersion) {
      throw Unsupported(
          "[study] '{}' was written by a newer nibble (schema {}; this program knows 1 to {}). Update nibble, or start "
          "a new search elsewhere.",
          database.name(), version, kSchemaVersion);
    }
    has_inputs = version > 1;
  }

  // A heartbeat from later than this was written before a clock was set back: nobody renews that lease, which would
  // hold for as long as the clock jumped. Clocks of machines may differ by less.
  int64_t in_the_future(int64_t now) const { return now + 10 * options.lease_ms; }

  // Number of a trial to take over, or -1. Gives up on those that killed too many workers.
  int find_claimable(soci::session& sql, int64_t now) {
    for (;;) {
      int number = -1, state = 0, deaths = 0;
      long long clock = now, future = in_the_future(now);
      sql << "SELECT number, state, deaths FROM trial WHERE state = 0 OR (state = 1 AND (lease_ends_ms < :now OR "
             "heartbeat_ms > :future)) ORDER BY number LIMIT 1",
          into(number), into(state), into(deaths), use(clock), use(future);
      if (!sql.got_data()) return -1;
      if (state == kRunning) bury(sql, number, deaths + 1, now);
      if (state != kRunning || deaths + 1 < options.max_deaths) return number;
    }
  }

  // The worker of a running trial is dead: the trial waits again, or fails if that happens too often. True if it fails.
  bool bury(soci::session& sql, int number, int deaths, int64_t now) {
    const bool give_up = deaths >= options.max_deaths;
    const int state = give_up ? kFailed : kWaiting;
    const long long finished = give_up ? now : 0;
    const std::string reason =
        give_up ? fmt::format("given up: its worker died or hung {} times (out of memory?)", deaths) : "";
    sql << "UPDATE trial SET state = :s, deaths = :d, reason = :r, finished_ms = :f WHERE number = :n", use(state),
        use(deaths), use(reason), use(finished), use(number);
    return give_up;
  }

  Claim start(soci::session& sql, int number, const std::string& worker, int64_t now) {
    const long long clock = now, lease_end = now + options.lease_ms;
    sql << "UPDATE trial SET state = 1, attempts = attempts + 1, worker = :w, heartbeat_ms = :h, lease_ends_ms = :l, "
           "started_ms = CASE WHEN started_ms = 0 THEN :t ELSE started_ms END WHERE number = :n",
        use(worker), use(clock), use(lease_end), use(clock), use(number);
    Claim claim;
    std::string assignment;
    sql << "SELECT number, attempts, assignment FROM trial WHERE number = :n", into(claim.number), into(claim.attempt),
        into(assignment), use(number);
    claim.values = assignment_from_json(assignment);
    claim.steps = read_steps(sql, number);
    return claim;
  }

  // True if the attempt still is the current one; its lease then starts anew.
  bool hold(soci::session& sql, const Claim& claim) {
    const long long clock = options.clock(), lease_end = clock + options.lease_ms;
    int matching = 0;
    sql << "SELECT count(*) FROM trial WHERE number = :n AND attempts = :a AND state = 1", into(matching),
        use(claim.number), use(claim.attempt);
    if (matching != 1) return false;
    sql << "UPDATE trial SET heartbeat_ms = :h, lease_ends_ms = :l WHERE number = :n", use(clock), use(lease_end),
        use(claim.number);
    return true;
  }

  void finish(soci::session& sql, int number, int state, const std::string& metrics, const std::string& reason,
              const std::string& artifact) {
    const long long clock = options.clock();
    sql << "UPDATE trial SET state = :s, metrics = :m, reason = :r, artifact = :a, finished_ms = :f WHERE number = :n",
        use(state), use(metrics), use(reason), use(artifact), use(clock), use(number);
  }

  Database database;
  StorageOptions options;
  bool has_inputs = true;  // its tables know them
};

Storage::Storage(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Storage::Storage(Storage&&) noexcept = default;
Storage& Storage::operator=(Storage&&) noexcept = default;
Storage::~Storage() = default;

Storage Storage::create(const std::string& url, const StudyInfo& info, StorageOptions options) {
  if (info.max_trials < 1) {
    throw InvalidArgument("[study] max_trials is {}; a search needs at least 1.", info.max_trials);
  }
  auto impl = std::make_unique<Impl>(url, true, std::move(options));
  const std::string seed = std::to_string(info.seed);
  const int version = kSchemaVersion;
  impl->database.make("make a study", [&](soci::session& sql) {
    make_tables(sql, impl->database.name());
    sql << "INSERT INTO study (id, schema_version, revision, name, code_version, run_config, space, seed, max_trials, "
           "exhausted, inputs) VALUES (1, :v, 0, :n, :c, :r, :sp, :s, :m, 0, :i)",
        use(version), use(info.name), use(info.code_version), use(info.run_config), use(info.space), use(seed),
        use(info.max_trials), use(info.inputs);
  });
  return Storage(std::move(impl));
}

Storage Storage::open(const std::string& url, StorageOptions options) {
  auto impl = std::make_unique<Impl>(url, false, std::move(options));
  impl->check_schema();
  return Storage(std::move(impl));
}

bool Storage::holds_study(const std::string& url) {
  const StorageOptions options;
  if (std::error_code ignored; !is_server_url(url) && !std::filesystem::exists(sqlite_path(url), ignored)) return false;
  // Opened as if to make it, which alone makes nothing where a server or a file is there.
  return Database(url, true, options.busy_timeout_s).has_tables();
}

void Storage::remove(const std::string& url) {
  // What is no study is not removed.
  open(url).impl_->database.remove();
}

std::vector<std::string> Storage::studies_on(const std::string& server) { return studies_on_server(server); }

StudyInfo Storage::info() const {
  StudyInfo info;
  std::string seed;
  impl_->database.read("read the study", [&](soci::session& sql) {
    sql << "SELECT name, code_version, run_config, space, seed, max_trials FROM study WHERE id = 1", into(info.name),
        into(info.code_version), into(info.run_config), into(info.space), into(seed), into(info.max_trials);
    if (impl_->has_inputs) sql << "SELECT inputs FROM study WHERE id = 1", into(info.inputs);
    return 0;
  });
  info.seed = seed_from_text(seed);
  return info;
}

std::vector<Trial> Storage::trials() const {
  return impl_->database.read("read the trials",
                              [&](soci::session& sql) { return read_trials(sql, impl_->database.name()); });
}

std::vector<Step> Storage::steps(int number) const {
  return impl_->database.read("read a trial's steps", [&](soci::session& sql) { return read_steps(sql, number); });
}

int64_t Storage::revision() const {
  return impl_->database.read("read the study", [&](soci::session& sql) {
    long long revision = 0;
    sql << "SELECT revision FROM study WHERE id = 1", into(revision);
    return static_cast<int64_t>(revision);
  });
}

int Storage::held_trials() const {
  return impl_->database.read("read the trials", [&](soci::session& sql) {
    const long long now = impl_->options.clock(), future = impl_->in_the_future(now);
    int held = 0;
    sql << "SELECT count(*) FROM trial WHERE state = 1 AND lease_ends_ms >= :now AND heartbeat_ms <= :future",
        into(held), use(now), use(future);
    return held;
  });
}

int64_t Storage::lease_ms() const { return impl_->options.lease_ms; }

bool Storage::is_over() const {
  return impl_->database.read("read the study", [&](soci::session& sql) {
    const Progress progress = read_progress(sql);
    return progress.unfinished == 0 && !progress.may_propose();
  });
}

std::optional<Storage::Claim> Storage::claim(const std::string& worker, const SearchSpace& space,
                                             const Sampler& sampler) {
  // A look without the lock, so that idle workers do not hinder busy ones.
  const bool nothing_to_do = impl_->database.read("look for a trial", [&](soci::session& sql) {
    const long long now = impl_->options.clock(), future = impl_->in_the_future(now);
    int open_trials = 0;
    sql << "SELECT count(*) FROM trial WHERE state = 0 OR (state = 1 AND (lease_ends_ms < :now OR heartbeat_ms > "
           ":future))",
        into(open_trials), use(now), use(future);
    return open_trials == 0 && !read_progress(sql).may_propose();
  });
  if (nothing_to_do) return std::nullopt;

  return impl_->database.write("claim a trial", [&](soci::session& sql) -> std::optional<Claim> {
    const int64_t now = impl_->options.clock();
    int number = impl_->find_claimable(sql, now);
    if (number < 0) {
      if (!read_progress(sql).may_propose()) return std::nullopt;
      const std::vector<Trial> earlier = read_trials(sql, impl_->database.name());
      const std::optional<Assignment> values = sampler.propose(space, earlier);
      if (!values) {
        sql << "UPDATE study SET exhausted = 1 WHERE id = 1";
        return std::nullopt;
      }
      number = static_cast<int>(earlier.size());
      insert_trial(sql, number, *values);
    }
    return impl_->start(sql, number, worker, now);
  });
}

bool Storage::renew(const Claim& claim) {
  return impl_->database.write("renew a lease", [&](soci::session& sql) { return impl_->hold(sql, claim); });
}

bool Storage::report(const Claim& claim, const Step& step) {
  return impl_->database.write("report a step", [&](soci::session& sql) {
    if (!impl_->hold(sql, claim)) return false;
    keep_step(sql, claim.number, step);
    return true;
  });
}

bool Storage::complete(const Claim& claim, double score, const Metrics& metrics, const std::string& artifact) {
  const std::string text = metrics_to_json(metrics);
  return impl_->database.write("complete a trial", [&](soci::session& sql) {
    if (!impl_->hold(sql, claim)) return false;
    impl_->finish(sql, claim.number, kCompleted, text, "", artifact);
    sql << "UPDATE trial SET score = :s WHERE number = :n", use(score), use(claim.number);
    return true;
  });
}

bool Storage::fail(const Claim& claim, const std::string& reason) {
  return impl_->database.write("mark a trial failed", [&](soci::session& sql) {
    if (!impl_->hold(sql, claim)) return false;
    impl_->finish(sql, claim.number, kFailed, "{}", reason, "");
    return true;
  });
}

bool Storage::release(const Claim& claim) {
  return impl_->database.write("release a trial", [&](soci::session& sql) {
    if (!impl_->hold(sql, claim)) return false;
    sql << "UPDATE trial SET state = 0, lease_ends_ms = 0 WHERE number = :n", use(claim.number);
    return true;
  });
}

bool Storage::abandon(const Claim& claim) {
  return impl_->database.write("put a trial back", [&](soci::session& sql) {
    if (!impl_->hold(sql, claim)) return false;
    int deaths = 0;
    sql << "SELECT deaths FROM trial WHERE number = :n", into(deaths), use(claim.number);
    return impl_->bury(sql, claim.number, deaths + 1, impl_->options.clock());
  });
}

int Storage::release_dead(const std::function<std::optional<bool>(std::string_view worker)>& is_alive) {
  return impl_->database.write("release trials of dead workers", [&](soci::session& sql) {
    std::vector<std::pair<int, int>> dead;  // number, deaths
    int number = 0, deaths = 0;
    std::string worker;
    soci::statement statement = (sql.prepare << "SELECT number, deaths, worker FROM trial WHERE state = 1",
                                 into(number), into(deaths), into(worker));
    statement.execute();
    while (statement.fetch()) {
      if (is_alive(worker) == std::optional<bool>(false)) dead.emplace_back(number, deaths + 1);
    }
    for (const auto& [trial, count] : dead) impl_->bury(sql, trial, count, impl_->options.clock());
    return static_cast<int>(dead.size());
  });
}

void Storage::set_max_trials(int max_trials) {
  if (max_trials < 1) throw InvalidArgument("[study] max_trials is {}; a search needs at least 1.", max_trials);
  impl_->database.write("change max_trials", [&](soci::session& sql) {
    // The sampler is asked anew whether there is more to try.
    sql << "UPDATE study SET max_trials = :m, exhausted = 0 WHERE id = 1", use(max_trials);
    return 0;
  });
}

void Storage::add_code_version(const std::string& code_version) {
  impl_->database.write("name another version", [&](soci::session& sql) {
    std::string versions;
    sql << "SELECT code_version FROM study WHERE id = 1", into(versions);
    if (names(versions, code_version)) return 0;
    versions += (versions.empty() ? "" : std::string(kThen)) + code_version;
    sql << "UPDATE study SET code_version = :c WHERE id = 1", use(versions);
    return 0;
  });
}

}  // namespace nibble::search
