#include "nibble/cli/search_progress.h"

#include <fmt/format.h>

#include <algorithm>

#include "nibble/autoq/run_config.h"
#include "nibble/cli/study_metric.h"
#include "nibble/cli/wording.h"

namespace nibble::cli {
namespace {

std::string metric(const search::Trial& trial, const std::string& name, const char* format) {
  const auto found = trial.metrics.find(name);
  return found == trial.metrics.end() ? "-" : fmt::format(fmt::runtime(format), found->second);
}

}  // namespace

void SearchProgress::on_start(const std::string& run_config, const std::vector<search::Trial>& trials, int max_trials,
                              int workers, double reference_cost) {
  const autoq::RunConfig config = autoq::parse_run_config(run_config);
  max_trials_ = max_trials;
  const int executions = config.executions_per_trial;
  epochs_ = config.epochs * executions;
  finished_ = static_cast<int>(std::count_if(trials.begin(), trials.end(), [](const auto& t) { return t.finished(); }));
  objectives_ = {metric_of(config), {"cost", false}};
  for (const search::Trial& trial : trials) join_front(trial);
  begin_ = std::chrono::steady_clock::now();
  const bool energy = config.goal.kind == autoq::GoalKind::kEnergy;
  bar_.line(fmt::format("{} of {}up to {}, {} finished before; {}; reference {} {}", counted(max_trials, "trial"),
                        executions > 1 ? fmt::format("{} times ", executions) : "", counted(config.epochs, "epoch"),
                        finished_, counted(workers, "worker"),
                        energy ? small_figure(reference_cost / 1000.0) : fmt::format("{:.2f}", reference_cost),
                        energy ? "nJ" : "bits"));
}

void SearchProgress::on_notice(const std::string& sentence) {
  notices_.push_back(sentence);
  bar_.line("note: " + sentence);
}

void SearchProgress::on_trial_finish(const search::Trial& trial, const search::Trial* best) {
  ++finished_;
  ++finished_here_;
  running_.erase(trial.number);
  const bool is_best = best != nullptr && best->number == trial.number;
  const bool is_in_front = join_front(trial);
  if (best != nullptr) best_ = fmt::format("best {}: {}", best->number, describe(*best));
  const std::string outcome = trial.state == search::TrialState::kFailed
                                  ? "failed: " + trial.reason
                                  : describe(trial) + (is_best ? "  *best*" : "") + (is_in_front ? "  *front*" : "");
  bar_.line(fmt::format("[{}/{}] trial {:>3}  {}  ETA {}", finished_, max_trials_, trial.number, outcome, remaining()));
}

std::string SearchProgress::describe(const search::Trial& trial) const {
  const std::string& judged = objectives_[0].metric;
  const bool is_accuracy = judged == "accuracy";
  const double score = trial.score.value_or(0);
  // Errors, and scores that follow from them, may be of any size.
  std::string text = is_accuracy ? fmt::format("score {:.4f}", score) : fmt::format("score {:.4g}", score);
  if (trial.metrics.contains(judged)) {
    text += is_accuracy ? "  acc " + metric(trial, judged, "{:.4f}")
                        : fmt::format("  {} {}", judged, metric(trial, judged, "{:.4g}"));
  }
  if (trial.metrics.contains("energy_nj")) text += "  " + small_figure(trial.metrics.at("energy_nj")) + " nJ";
  if (trial.metrics.contains("bits")) text += "  " + metric(trial, "bits", "{:.0f}") + " bits";
  return text;
}

bool SearchProgress::join_front(const search::Trial& trial) {
  const search::Losses losses = search::losses_of(trial, objectives_);
  if (losses.empty()) return false;
  const auto is_as_good = [&](const search::Losses& other) {
    return other == losses || search::dominates(other, losses);
  };
  if (std::any_of(front_.begin(), front_.end(), is_as_good)) return false;
  std::erase_if(front_, [&](const search::Losses& other) { return search::dominates(losses, other); });
  front_.push_back(losses);
  return true;
}

std::string SearchProgress::remaining() const {
  if (finished_here_ == 0) return "?";
  const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  return format_duration(elapsed / finished_here_ * std::max(0, max_trials_ - finished_));
}

void SearchProgress::on_poll() {
  std::string now;
  for (const auto& [number, epoch] : running_) now += fmt::format("  #{} {}/{}", number, epoch, epochs_);
  const double fraction = max_trials_ == 0 ? 0 : static_cast<double>(finished_) / max_trials_;
  const std::string front = front_.empty() ? "" : fmt::format("  front of {}", front_.size());
  bar_.update(fraction, fmt::format("{}/{} trials", finished_, max_trials_),
              fmt::format("ETA {}{}{}{}{}", remaining(), now, best_.empty() ? "" : "  ", best_, front));
}

}  // namespace nibble::cli
