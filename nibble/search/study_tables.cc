#include "nibble/search/study_tables.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"

namespace nibble::search {
namespace {

using nlohmann::json;
using soci::into;
using soci::use;

// Both databases understand it; names are no reserved words of either.
constexpr const char* kSchema[] = {
    "CREATE TABLE study (id INTEGER PRIMARY KEY, schema_version INTEGER NOT NULL, revision BIGINT NOT NULL, "
    "name TEXT NOT NULL, code_version TEXT NOT NULL, run_config TEXT NOT NULL, space TEXT NOT NULL, "
    "seed TEXT NOT NULL, max_trials INTEGER NOT NULL, exhausted INTEGER NOT NULL, inputs TEXT NOT NULL)",
    "CREATE TABLE trial (number INTEGER PRIMARY KEY, state INTEGER NOT NULL, assignment TEXT NOT NULL, "
    "score DOUBLE PRECISION, metrics TEXT NOT NULL, reason TEXT NOT NULL, artifact TEXT NOT NULL, "
    "attempts INTEGER NOT NULL, deaths INTEGER NOT NULL, worker TEXT NOT NULL, heartbeat_ms BIGINT NOT NULL, "
    "lease_ends_ms BIGINT NOT NULL, started_ms BIGINT NOT NULL, finished_ms BIGINT NOT NULL)",
    "CREATE TABLE trial_step (trial INTEGER NOT NULL, step INTEGER NOT NULL, metrics TEXT NOT NULL, "
    "PRIMARY KEY (trial, step))"};

Metrics metrics_from_json(const std::string& text) {
  try {
    Metrics metrics;
    const json object = json::parse(text);
    for (const auto& [name, value] : object.get_ref<const json::object_t&>()) {
      // Earlier versions wrote null for NaN.
      if (!value.is_null()) metrics.emplace(name, value.get<double>());
    }
    return metrics;
  } catch (const json::exception& error) {
    throw CorruptFile("[study] metrics are not an object of numbers: {}.", error.what());
  }
}

}  // namespace

void make_tables(soci::session& sql, const std::string& name) {
  try {
    for (const char* table : kSchema) sql << table;
  } catch (const soci::soci_error& error) {
    const std::string text = error.get_error_message();
    if (text.find("already exists") == std::string::npos && text.find("duplicate key") == std::string::npos) throw;
    throw InvalidArgument(
        "[study] there already is a study in '{}'. Go on with it by --resume, or choose another directory.", name);
  }
}

std::string metrics_to_json(const Metrics& metrics) {
  json object = json::object();
  for (const auto& [name, value] : metrics) {
    if (std::isfinite(value)) object[name] = value;
  }
  return object.dump();
}

uint64_t seed_from_text(const std::string& text) {
  const bool digits = !text.empty() && text.size() <= 20 && text.find_first_not_of("0123456789") == std::string::npos;
  try {
    if (digits) return std::stoull(text);
  } catch (const std::out_of_range&) {
  }
  throw CorruptFile("[study] the seed '{}' is no whole number.", text);
}

std::vector<Trial> read_trials(soci::session& sql, const std::string& file) {
  std::vector<Trial> trials;
  Trial row;
  int state = 0;
  double score = 0;
  soci::indicator has_score = soci::i_null;
  std::string assignment, metrics;
  long long started = 0, finished = 0;
  soci::statement statement =
      (sql.prepare
           << "SELECT number, state, assignment, score, metrics, reason, artifact, attempts, worker, started_ms, "
              "finished_ms FROM trial ORDER BY number",
       into(row.number), into(state), into(assignment), into(score, has_score), into(metrics), into(row.reason),
       into(row.artifact), into(row.attempts), into(row.worker), into(started), into(finished));
  statement.execute();
  while (statement.fetch()) {
    if (row.number != static_cast<int>(trials.size()) || state < kWaiting || state > kFailed || row.attempts < 0) {
      throw CorruptFile(
          "[study] '{}': trial {} stands where {} should, in state {} with {} attempts. The file is damaged.", file,
          row.number, trials.size(), state, row.attempts);
    }
    Trial trial = row;
    trial.state = static_cast<TrialState>(state);
    trial.values = assignment_from_json(assignment);
    trial.metrics = metrics_from_json(metrics);
    if (has_score == soci::i_ok) trial.score = score;
    trial.started_ms = started;
    trial.finished_ms = finished;
    trials.push_back(std::move(trial));
  }
  return trials;
}

std::vector<Step> read_steps(soci::session& sql, int number) {
  std::vector<Step> steps;
  int step = 0;
  std::string metrics;
  soci::statement statement = (sql.prepare << "SELECT step, metrics FROM trial_step WHERE trial = :n ORDER BY step",
                               into(step), into(metrics), use(number));
  statement.execute();
  while (statement.fetch()) steps.push_back({step, metrics_from_json(metrics)});
  return steps;
}

void keep_step(soci::session& sql, int number, const Step& step) {
  const std::string metrics = metrics_to_json(step.metrics);
  int known = 0;
  sql << "SELECT count(*) FROM trial_step WHERE trial = :n AND step = :s", into(known), use(number), use(step.step);
  if (known == 0) {
    sql << "INSERT INTO trial_step (trial, step, metrics) VALUES (:n, :s, :m)", use(number), use(step.step),
        use(metrics);
    // It gets on, so what killed its workers was not the trial. A step that was known is no progress.
    sql << "UPDATE trial SET deaths = 0 WHERE number = :n", use(number);
  } else {
    sql << "UPDATE trial_step SET metrics = :m WHERE trial = :n AND step = :s", use(metrics), use(number),
        use(step.step);
  }
}

void insert_trial(soci::session& sql, int number, const Assignment& values) {
  const std::string text = to_json(values);
  sql << "INSERT INTO trial (number, state, assignment, metrics, reason, artifact, attempts, deaths, worker, "
         "heartbeat_ms, lease_ends_ms, started_ms, finished_ms) "
         "VALUES (:n, 0, :a, '{}', '', '', 0, 0, '', 0, 0, 0, 0)",
      use(number), use(text);
}

Progress read_progress(soci::session& sql) {
  Progress progress;
  // One statement sees one state of the study; others may write between two.
  sql << "SELECT (SELECT count(*) FROM trial), (SELECT count(*) FROM trial WHERE state < 2), max_trials, exhausted "
         "FROM study WHERE id = 1",
      into(progress.trials), into(progress.unfinished), into(progress.max_trials), into(progress.exhausted);
  return progress;
}

}  // namespace nibble::search
