// nibble/autoq/score_callback.h
// How one training of a trial scores, and what several of them come to.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>

#include "nibble/autoq/cost_meter.h"
#include "nibble/autoq/run_config.h"
#include "nibble/search/pruner.h"
#include "nibble/search/worker.h"
#include "nibble/train/trainer.h"

namespace nibble::autoq {

// One of the trainings of a trial; most trials have one.
struct Execution {
  int index = 0;
  // In the trial's directory: weights of its best epoch, and its state after the last one.
  std::string model, checkpoint;
  int epochs_before = 0;  // of the executions before it
};

// An only execution writes the trial's own files; each of several has its own until all are done, so that an attempt
// that ends at any moment leaves the next one what it needs.
Execution execution_of(const RunConfig& config, int index, int epochs_before = 0);

// The epochs whose score somebody needs, whatever validation_freq leaves out: those at which the pruner decides, and
// those at which rounds of hyperband end, so that a trial of a later round that must train from the start is judged in
// the same epochs as one that goes on. Empty where every epoch is validated.
std::set<int> epochs_looked_at(const RunConfig& config);

struct ExecutionScore {
  int best_epoch = 0, epochs = 0;        // best_epoch is among those that were validated
  double score = 0;                      // of the best epoch; so are the next three
  double value = 0;                      // of config.metric
  std::optional<double> accuracy, loss;  // of the validation, where there is one, whatever the metric
  bool pruned = false;
};

// ---- of a trial's executions, of which there is at least one ----

// The mean of their scores; with a floor for the accuracy, the score of their mean accuracy.
double trial_score(const RunConfig& config, std::span<const ExecutionScore> scores, const TrialCost& cost,
                   double reference);
// Index of the highest score; of equal ones the better metric, then the first.
int best_execution(const RunConfig& config, std::span<const ExecutionScore> scores);
// As training_runner.h lists them, without costs.
search::Metrics metrics_of(const RunConfig& config, std::span<const ExecutionScore> scores);

// Tells the study the score of every epoch that is validated, keeps the best one's weights, and ends what the pruner
// gives up.
class ScoreCallback final : public train::Callback {
 public:
  ScoreCallback(const search::TrialContext& context, const Execution& execution, const RunConfig& config,
                const TrialCost& cost, double reference);

  //   throws  LeaseLost before anything is written, if the trial is another worker's by now
  bool on_epoch_end(const train::EpochLog& log, train::Trainer& trainer) override;
  nlohmann::json state() const override;
  void restore(const nlohmann::json& state) override;

  const ExecutionScore& result() const { return best_; }

 private:
  const search::TrialContext& context_;
  const Execution& execution_;
  const RunConfig& config_;
  TrialCost cost_;
  double reference_;
  std::optional<search::SuccessiveHalvingPruner> pruner_;
  ExecutionScore best_;
};

}  // namespace nibble::autoq
