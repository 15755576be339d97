#include "nibble/report/trial_feed.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace nibble::report {
namespace {

using nlohmann::json;

std::string dump(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

double seconds_of(const search::Trial& trial) {
  return trial.finished() && trial.started_ms > 0
             ? static_cast<double>(std::max<int64_t>(0, trial.finished_ms - trial.started_ms)) / 1000
             : 0;
}

}  // namespace

TrialFeed::TrialFeed(search::Storage& storage, search::SearchSpace space, int64_t begin)
    : storage_(storage), space_(std::move(space)), version_(begin) {
  for (const search::Parameter& parameter : space_) {
    std::map<std::string, int>& indexes = candidates_.emplace_back();
    for (const std::string& candidate : parameter.candidates) {
      indexes.emplace(candidate, static_cast<int>(indexes.size()));
    }
  }
}

bool TrialFeed::refresh() {
  const std::lock_guard one_at_a_time(refreshing_);
  const int64_t revision = storage_.revision();
  if (revision == revision_) return false;
  std::vector<search::Trial> trials = storage_.trials();
  const int max_trials = storage_.info().max_trials;
  const bool is_over = storage_.is_over();
  // Only this function writes, one at a time, so it may read without the second lock.
  const bool is_anew = revision_ < 0 || trials.size() < rows_.size();  // another study took its place
  std::vector<std::pair<size_t, std::string>> changes;
  for (size_t i = 0; i < trials.size(); ++i) {
    // What is finished stays as it is.
    if (!is_anew && i < trials_.size() && trials_[i].finished() && trials_[i].attempts == trials[i].attempts) continue;
    std::string row = row_of(trials[i]);
    if (is_anew || i >= rows_.size() || rows_[i] != row) changes.emplace_back(i, std::move(row));
  }
  const std::lock_guard guard(mutex_);
  const bool is_news = is_anew || !changes.empty() || is_over != is_over_ || max_trials != max_trials_;
  if (is_news) ++version_;
  rows_.resize(trials.size());
  changed_.resize(trials.size(), version_);
  for (auto& [index, row] : changes) {
    rows_[index] = std::move(row);
    changed_[index] = version_;
  }
  trials_ = std::move(trials);
  max_trials_ = max_trials;
  is_over_ = is_over;
  revision_ = revision;
  if (is_news) news_.notify_all();
  return is_news;
}

void TrialFeed::begin_anew() {
  const std::lock_guard one_at_a_time(refreshing_);
  revision_ = -1;
}

void TrialFeed::say(const std::string& trouble) {
  const std::lock_guard guard(mutex_);
  if (trouble == trouble_) return;
  trouble_ = trouble;
  ++version_;
  news_.notify_all();
}

std::string TrialFeed::trouble() const {
  const std::lock_guard guard(mutex_);
  return trouble_;
}

size_t TrialFeed::metric_index(const std::string& name) {
  const auto found = std::find(metrics_.begin(), metrics_.end(), name);
  if (found != metrics_.end()) return static_cast<size_t>(found - metrics_.begin());
  const std::lock_guard guard(mutex_);
  metrics_.push_back(name);
  return metrics_.size() - 1;
}

std::string TrialFeed::row_of(const search::Trial& trial) {
  // A running trial shows what its last epoch reported.
  int epoch = 0;
  search::Metrics last;
  if (!trial.finished() && trial.attempts > 0) {
    const std::vector<search::Step> steps = storage_.steps(trial.number);
    if (!steps.empty()) {
      epoch = steps.back().step;
      last = steps.back().metrics;
    }
  } else if (const auto epochs = trial.metrics.find("epochs"); epochs != trial.metrics.end()) {
    epoch = static_cast<int>(epochs->second);
  }
  json metrics = json::array();
  for (const auto& [name, value] : trial.metrics) {
    const size_t index = metric_index(name);
    while (metrics.size() <= index) metrics.push_back(nullptr);
    metrics[index] = value;
  }
  json score = trial.score ? json(*trial.score) : json();
  if (const auto so_far = last.find("score"); so_far != last.end()) score = so_far->second;
  json choices = json::array();
  for (size_t i = 0; i < space_.size(); ++i) {
    const auto value = trial.values.find(space_[i].name);
    const auto index = value == trial.values.end() ? candidates_[i].end() : candidates_[i].find(value->second);
    choices.push_back(index == candidates_[i].end() ? -1 : index->second);
  }
  return dump(json::array({trial.number, static_cast<int>(trial.state), score, metrics, choices, epoch, trial.attempts,
                           seconds_of(trial), trial.reason}));
}

std::string TrialFeed::since(int64_t version) const {
  const std::lock_guard guard(mutex_);
  std::string message = "{\"version\":" + std::to_string(version_) + ",\"count\":" + std::to_string(rows_.size()) +
                        ",\"max_trials\":" + std::to_string(max_trials_) +
                        ",\"is_over\":" + (is_over_ ? "true" : "false") + ",\"trouble\":" + dump(trouble_) +
                        ",\"metrics\":" + dump(metrics_) + ",\"rows\":[";
  bool is_first = true;
  for (size_t i = 0; i < rows_.size(); ++i) {
    // A version of the future is of an earlier dashboard: that page gets everything.
    if (version <= version_ && changed_[i] <= version) continue;
    if (!is_first) message += ',';
    message += rows_[i];
    is_first = false;
  }
  return message + "]}";
}

int64_t TrialFeed::wait_beyond(int64_t version, std::chrono::milliseconds patience) const {
  std::unique_lock lock(mutex_);
  news_.wait_for(lock, patience, [&] { return ended_ || version_ != version; });
  return version_;
}

void TrialFeed::end() {
  const std::lock_guard guard(mutex_);
  ended_ = true;
  news_.notify_all();
}

std::optional<search::Trial> TrialFeed::trial(int number) const {
  const std::lock_guard guard(mutex_);
  if (number < 0 || number >= static_cast<int>(trials_.size())) return std::nullopt;
  return trials_[static_cast<size_t>(number)];
}

}  // namespace nibble::report
