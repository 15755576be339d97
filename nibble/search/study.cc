#include "nibble/search/study.h"

#include <nlohmann/json.hpp>

#include "nibble/core/error.h"

namespace nibble::search {

using nlohmann::json;

std::string to_json(const Assignment& values) { return json(values).dump(); }

std::string to_json(const SearchSpace& space) {
  json rows = json::array();
  for (const Parameter& parameter : space) rows.push_back(json::array({parameter.name, parameter.candidates}));
  return rows.dump();
}

Assignment assignment_from_json(std::string_view text) {
  try {
    return json::parse(text).get<Assignment>();
  } catch (const json::exception& error) {
    throw CorruptFile("[study] a trial's values are not an object of texts: {}.", error.what());
  }
}

SearchSpace space_from_json(std::string_view text) {
  try {
    SearchSpace space;
    const json rows = json::parse(text);
    for (const json& row : rows.get_ref<const json::array_t&>()) {
      space.push_back({row.at(0).get<std::string>(), row.at(1).get<std::vector<std::string>>()});
    }
    return space;
  } catch (const json::exception& error) {
    throw CorruptFile("[study] the space is not a list of names and their candidates: {}.", error.what());
  }
}

std::string_view to_string(TrialState state) {
  switch (state) {
    case TrialState::kWaiting:
      return "waiting";
    case TrialState::kRunning:
      return "running";
    case TrialState::kCompleted:
      return "completed";
    case TrialState::kFailed:
      return "failed";
  }
  return "unknown";
}

namespace {

// Scores alone say nothing of costs where an error is 0, or where what trials are judged by leaves them out.
bool is_better(const Trial& trial, const Trial& best) {
  if (*trial.score != *best.score) return *trial.score > *best.score;
  const auto cost = trial.metrics.find("cost"), least = best.metrics.find("cost");
  const bool both = cost != trial.metrics.end() && least != best.metrics.end();
  if (both && cost->second != least->second) return cost->second < least->second;
  return trial.number < best.number;
}

}  // namespace

const Trial* better_of(const Trial* best, const Trial& trial) {
  if (trial.state != TrialState::kCompleted || !trial.score) return best;
  return best == nullptr || is_better(trial, *best) ? &trial : best;
}

const Trial* best_trial(const std::vector<Trial>& trials) {
  const Trial* best = nullptr;
  for (const Trial& trial : trials) best = better_of(best, trial);
  return best;
}

}  // namespace nibble::search
