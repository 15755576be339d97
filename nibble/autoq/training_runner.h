// nibble/autoq/training_runner.h
// The objective of a search: quantize, train, score.
//
//   score = max over epochs of score_of(metric)      score.h
//           mean over executions, each a training of its own seed, where executions_per_trial is above 1
#pragma once

#include <optional>

#include "nibble/autoq/budget.h"
#include "nibble/autoq/cost_meter.h"
#include "nibble/autoq/run_config.h"
#include "nibble/data/dataset.h"
#include "nibble/search/worker.h"
#include "nibble/train/trainer.h"

namespace nibble::autoq {

// File in a trial's directory with the weights of its best epoch.
inline constexpr const char* kModelFile = "model.keras";

// Files in a trial's directory that go once the study has the result: the training as it stood after its last epoch,
// or that and the weights of each execution.
std::vector<std::string> temporary_files(const RunConfig& config);

struct Execution;       // score_callback.h
struct ExecutionScore;  // score_callback.h

// Trains trials on one data set. A trial's seed is derive_seed(config.seed, kTrial, number), and that of its
// execution k > 0 derive_seed(trial's seed, kTrial, k), so its result depends on nothing else. After each epoch a
// checkpoint is written; a later attempt goes on from it, to the same bytes.
class TrainingRunner final : public search::TrialRunner {
 public:
  //   model    before quantization; with weights if config.transfer_weights
  //   throws  InvalidArgument if it lacks them then; as check_network() and CostMeter; as load_teacher() for
  //           config.teacher
  TrainingRunner(RunConfig config, graph::Model model, data::Dataset dataset);

  // Reported steps are the epochs that are validated, counted on from one execution to the next: score, loss, accuracy,
  // val_loss, val_accuracy, learning_rate, seconds. Metrics of the trial: accuracy and loss (val_accuracy and val_loss
  // of the best epoch) and what else it is judged by, best_epoch, epochs, cost, delta, total_factor, energy_nj or bits,
  // what a budget bounds, and pruned (1: it was ended) with a pruner. Of several executions: the means of the former,
  // best_epoch of the best one; executions, best_execution (from 1), score_deviation (of the sample). The pruner looks
  // at the first one alone, and what it ends is not trained again.
  search::TrialResult run(const search::TrialContext& context) override;

 private:
  ExecutionScore execute(const graph::Model& model, const TrialCost& cost, const search::TrialContext& context,
                         const Execution& execution) const;
  std::vector<std::string> leftovers(const search::TrialContext& context) const;

  RunConfig config_;
  graph::Model model_;
  data::Dataset dataset_;
  CostMeter meter_;
  std::optional<BudgetMeter> budget_;
  std::optional<graph::Model> teacher_;
  std::optional<train::Distillation> lessons_;  // of the teacher; from the first trial on
};

train::LossKind loss_kind(const RunConfig& config);
train::Target target_kind(const RunConfig& config);

// Before anything is trained or measured: can trials of this network be trained on these data at all?
//   throws  InvalidArgument for several inputs or outputs, other samples than the network takes, or answers that its
//           output cannot be compared with
void check_network(const RunConfig& config, const graph::Model& model, const data::Dataset& dataset);

// ---- what a run_config names ----

// A built-in network, a model file or a folder that 'nibble train' wrote; of several outputs config.head_name's part.
// throws as load_model(); IoError for a path without a file; InvalidArgument for a name that is neither
graph::Model load_search_model(const RunConfig& config);
// The network that costs are compared with: config.reference_model, or `model` where none is named. throws alike
graph::Model load_reference_model(const RunConfig& config, const graph::Model& model);
// The data set, preprocessed. throws as data::load_dataset()
data::Dataset load_search_data(const RunConfig& config);

}  // namespace nibble::autoq
