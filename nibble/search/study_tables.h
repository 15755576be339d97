// nibble/search/study_tables.h
// The tables of a study: how rows become trials and steps, and back. Who may change a row, and when, is storage.cc's.
// Private to search/, as SOCI's headers are.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nibble/search/database.h"
#include "nibble/search/study.h"

namespace nibble::search {

inline constexpr int kWaiting = static_cast<int>(TrialState::kWaiting);
inline constexpr int kRunning = static_cast<int>(TrialState::kRunning);
inline constexpr int kCompleted = static_cast<int>(TrialState::kCompleted);
inline constexpr int kFailed = static_cast<int>(TrialState::kFailed);

//   name    of the study, for errors
//   throws  InvalidArgument if there are such tables already
void make_tables(soci::session& sql, const std::string& name);

// Without what JSON has no number for: NaN and the infinities.
std::string metrics_to_json(const Metrics& metrics);

uint64_t seed_from_text(const std::string& text);  // throws CorruptFile

//   file    for errors
//   throws  CorruptFile if numbers are missing or a row makes no sense
std::vector<Trial> read_trials(soci::session& sql, const std::string& file);
std::vector<Step> read_steps(soci::session& sql, int number);

// Replaces an earlier report of that step.
void keep_step(soci::session& sql, int number, const Step& step);
// A trial that waits.
void insert_trial(soci::session& sql, int number, const Assignment& values);

struct Progress {
  int trials = 0, unfinished = 0, max_trials = 0, exhausted = 0;
  bool may_propose() const { return exhausted == 0 && trials < max_trials; }
};
Progress read_progress(soci::session& sql);

}  // namespace nibble::search
