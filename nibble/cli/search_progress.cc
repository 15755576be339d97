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
  search_ = {};
  search_.max_trials = max_trials;
  const int executions = config.executions_per_trial;
  search_.epochs = config.epochs * executions;
  search_.finished =
      static_cast<int>(std::count_if(trials.begin(), trials.end(), [](const auto& t) { return t.finished(); }));
  search_.objectives = {metric_of(config), {"cost", false}};
  for (const search::Trial& trial : trials) join_front(trial);
  search_.begin = std::chrono::steady_clock::now();
  const bool energy = config.goal.kind == autoq::GoalKind::kEnergy;
  bar_.line(fmt::format("{} of {}up to {}, {} finished before; {}; reference {} {}", counted(max_trials, "trial"),
                        executions > 1 ? fmt::format("{} times ", executions) : "", counted(config.epochs, "epoch"),
                        search_.finished, counted(workers, "worker"),
                        energy ? small_figure(reference_cost / 1000.0) : fmt::format("{:.2f}", reference_cost),
                        energy ? "nJ" : "bits"));
}

void SearchProgress::on_notice(const std::string& sentence) {
  notices_.push_back(sentence);
  bar_.line("note: " + sentence);
}

void SearchProgress::on_trial_finish(const search::Trial& trial, const search::Trial* best) {
  ++search_.finished;
  ++search_.finished_here;
  search_.running.erase(trial.number);
  const bool is_best = best != nullptr && best->number == trial.number;
  const bool is_in_front = join_front(trial);
  if (best != nullptr) search_.best = fmt::format("best {}: {}", best->number, describe(*best));
  const std::string outcome = trial.state == search::TrialState::kFailed
                                  ? "failed: " + trial.reason
                                  : describe(trial) + (is_best ? "  *best*" : "") + (is_in_front ? "  *front*" : "");
  bar_.line(fmt::format("[{}/{}] trial {:>3}  {}  ETA {}", search_.finished, search_.max_trials, trial.number, outcome,
                        remaining()));
}

std::string SearchProgress::describe(const search::Trial& trial) const {
  const std::string& judged = search_.objectives[0].metric;
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
  const search::Losses losses = search::losses_of(trial, search_.objectives);
  if (losses.empty()) return false;
  const auto is_as_good = [&](const search::Losses& other) {
    return other == losses || search::dominates(other, losses);
  };
  if (std::any_of(search_.front.begin(), search_.front.end(), is_as_good)) return false;
  std::erase_if(search_.front, [&](const search::Losses& other) { return search::dominates(losses, other); });
  search_.front.push_back(losses);
  return true;
}

std::string SearchProgress::remaining() const {
  if (search_.finished_here == 0) return "?";
  const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - search_.begin).count();
  return format_duration(elapsed / search_.finished_here * std::max(0, search_.max_trials - search_.finished));
}

void SearchProgress::on_poll() {
  std::string now;
  for (const auto& [number, epoch] : search_.running) now += fmt::format("  #{} {}/{}", number, epoch, search_.epochs);
  const double fraction = search_.max_trials == 0 ? 0 : static_cast<double>(search_.finished) / search_.max_trials;
  const std::string front = search_.front.empty() ? "" : fmt::format("  front of {}", search_.front.size());
  bar_.update(fraction, fmt::format("{}/{} trials", search_.finished, search_.max_trials),
              fmt::format("ETA {}{}{}{}{}", remaining(), now, search_.best.empty() ? "" : "  ", search_.best, front));
}

}  // namespace nibble::cli
