// nibble/search/study.h
// Studies, trials and the spaces they search. Knows scores, not networks.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::search {

// One dimension: a name and its candidates in order, as text. One candidate makes it fixed.
struct Parameter {
  std::string name;
  std::vector<std::string> candidates;  // at least one
  bool operator==(const Parameter&) const = default;
};
using SearchSpace = std::vector<Parameter>;

// Parameter name -> chosen candidate.
using Assignment = std::map<std::string, std::string>;

// Text forms for storage and for comparing; the same value gives the same text.
std::string to_json(const Assignment& values);
std::string to_json(const SearchSpace& space);
// throws CorruptFile
Assignment assignment_from_json(std::string_view text);
SearchSpace space_from_json(std::string_view text);

// Metric name -> value: "accuracy", "energy_nj", ...
using Metrics = std::map<std::string, double>;

enum class TrialState { kWaiting = 0, kRunning = 1, kCompleted = 2, kFailed = 3 };
std::string_view to_string(TrialState state);  // "waiting", "running", "completed", "failed"

struct Trial {
  int number = -1;  // 0, 1, 2, ... in the order proposed
  TrialState state = TrialState::kWaiting;
  Assignment values = {};
  std::optional<double> score = {};  // maximised
  Metrics metrics = {};              // of the finished trial
  std::string reason = {};           // why it failed
  int attempts = 0;                  // times it was started; names one attempt together with the number
  std::string artifact = {};         // path of what it left (weights), relative to the study
  std::string worker = {};           // who runs or ran it last
  int64_t started_ms = 0;            // of the first attempt; milliseconds since 1970, 0 before
  int64_t finished_ms = 0;

  bool finished() const { return state == TrialState::kCompleted || state == TrialState::kFailed; }
};

// What a trial reports on its way: after epoch 1, 2, ...
struct Step {
  int step = 0;  // from 1
  Metrics metrics = {};
};

// The finished trial with the highest score; among equals the one of the lowest metric "cost", then of the lowest
// number. Null if there is none.
const Trial* best_trial(const std::vector<Trial>& trials);

// The same of two: `best`, null at first, or a trial that is better. One that is not completed never is.
const Trial* better_of(const Trial* best, const Trial& trial);

}  // namespace nibble::search
