// nibble/experiment/cell_runner.h
// Computes cells: trains, quantizes, measures.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "nibble/data/dataset.h"
#include "nibble/experiment/cell.h"
#include "nibble/experiment/cell_store.h"
#include "nibble/train/trainer.h"

namespace nibble::experiment {

// Ctrl-C: what is finished is saved.
struct Stopped {};

struct RunnerHooks {
  // Gives a data set by name, as stored; CIFAR-10 with batch 5 held out.
  std::function<data::Dataset(const std::string& name)> load_dataset;
  // Follows a training with such batches; may give null.
  std::function<std::unique_ptr<train::Callback>(int64_t batch_size)> progress = {};
  const std::atomic<bool>* stop = nullptr;  // true: run() throws Stopped
};

// Pixels as the original has them: fashion_mnist 0 .. 1, cifar10 -1 .. 1. Keeps the first train_samples (0: all).
void prepare(data::Dataset& dataset, int64_t train_samples);

class CellRunner {
 public:
  CellRunner(const PtqQatOptions& options, const CellStore& store, RunnerHooks hooks);

  // The float network of the same seed is trained first if it was not yet. Where a study's learning rate makes the loss
  // infinite, the accuracy is 0.
  CellResult run(const Cell& cell);

 private:
  struct Quantized {
    graph::Model model;
    double saturated_biases = 0;
  };

  const data::Dataset& dataset_of(const Cell& cell);
  void measure(const Cell& cell, const data::Dataset& dataset, CellResult& result);
  void measure_if_it_converges(const Cell& cell, const data::Dataset& dataset, CellResult& result);
  graph::Model float_model(const Cell& cell);
  graph::Model trained(const Cell& cell, graph::Model model, const data::Dataset& dataset);
  // The data set's teacher, for the samples that the cell trains on.
  const train::Distillation& teacher_of(const Cell& cell, const data::Dataset& dataset);
  Quantized quantized(const Cell& cell, const data::Dataset& dataset);
  // To be quantized in training, for cells of which folds_in_training() says so.
  graph::Model with_folding_layers(const Cell& cell);

  const PtqQatOptions& options_;
  const CellStore& store_;
  RunnerHooks hooks_;
  std::map<std::string, data::Dataset> datasets_;  // by name, and "/validation" for that split
  std::string teacher_key_;                        // whose outputs teacher_ has, and for which samples
  train::Distillation teacher_;
};

// Lets batches of the samples move the batch norms' statistics and nothing else.
//   momentum  the share of the old statistics that each batch leaves
graph::Model with_moved_statistics(graph::Model model, const Tensor& samples, double momentum, int threads);

// Weight decay as an L2 regularizer of every kernel (of half of it: its gradient is 2 l2 w); 0 takes it away.
void set_weight_decay(graph::Model& model, double decay);

// Trackers take from each batch what affine::usual_range_rule() says of their width, from the calibrated ranges on.
void use_usual_ranges(graph::Model& model);

// Trackers become learned steps that begin with the calibrated ranges.
void use_learned_steps(graph::Model& model);

}  // namespace nibble::experiment
