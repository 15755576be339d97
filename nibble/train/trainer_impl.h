// nibble/train/trainer_impl.h
// What stands behind Trainer: the network, its optimizer, and where the training is (torch inside train/ only).
//
//   training_step.cc  batches, one step, re-estimated statistics, evaluation
//   fit.cc            epochs, checkpoints, callbacks
#pragma once

#include <ATen/core/Tensor.h>

#include "nibble/train/network.h"
#include "nibble/train/objective.h"
#include "nibble/train/optimizer.h"
#include "nibble/train/process_group.h"
#include "nibble/train/trainer.h"
#include "nibble/train/weight_average.h"

namespace nibble::train {

inline std::span<float> values_of(const at::Tensor& t) { return {t.data_ptr<float>(), static_cast<size_t>(t.numel())}; }

void check_batch_size(int64_t batch_size);  // throws InvalidArgument below 1

struct Trainer::Impl {
  Impl(graph::Model model, const CompileOptions& compile_options);

  CompileOptions options;
  Objective objective;
  Network network;
  std::vector<float> factors;  // of the learning rate, one a trainable parameter
  WeightAverage average;
  std::unique_ptr<Optimizer> optimizer;
  int64_t step = 0;  // optimizer steps so far
  // Of the present fit(), where it must see batches that are augmented; else null.
  std::unique_ptr<Network> teacher;

  bool averages() const;
  Share share(int64_t batch) const;
  bool stops(const FitOptions& fit) const;
  void sum_gradients();
  void check_data(const data::Samples& samples) const;
  at::Tensor inputs(const data::Samples& samples, std::span<const int64_t> indices) const;
  struct StepResult {
    double loss = 0;
    double correct = 0;
    double mse = 0, mae = 0;  // where the loss is an error
  };
  StepResult sum_over_processes(const StepResult& own) const;
  void check_distillation(const Distillation& distillation, const data::Samples& samples) const;
  // Makes `teacher` for a fit(), or takes it away.
  void set_teacher(const FitOptions& fit);
  // What the teacher gives for the samples at `indices`, which the student sees as x: [n, classes].
  at::Tensor lessons(const at::Tensor& x, std::span<const int64_t> indices, const Distillation& distillation) const;
  // The loss of labels and the one of the teacher, by their weights.
  //   x  as lessons()
  at::Tensor with_teacher(const at::Tensor& loss, const at::Tensor& outputs, const at::Tensor& x,
                          std::span<const int64_t> indices, int64_t batch, const Distillation& distillation) const;
  // Of a sample as an image: the data's shape, or the network's where the data are flat.
  Shape image_shape(const data::Samples& samples) const;
  void check_augmentation(const data::Augmentation& augmentation, const data::Samples& samples) const;
  //   epoch  from 0
  StepResult train_step(const data::Samples& samples, std::span<const int64_t> indices, double learning_rate,
                        const FitOptions& fit, int64_t epoch);
  bool train_epoch(Trainer& trainer, const data::Samples& samples, const FitOptions& fit, int64_t steps_per_epoch,
                   EpochLog& log);
  // What evaluation needs besides weights: batch-norm statistics, and ranges of kernels that hold them.
  void reestimate(const data::Samples& samples, int64_t batch_size);
  void reestimate_statistics(const data::Samples& samples, int64_t batch_size);
  Evaluation evaluate(const data::Samples& samples, int64_t batch_size);
  //   log     written: what the validation says of the epoch
  //   throws  NonFiniteLoss
  void validate(const data::Samples& samples, EpochLog& log);
  std::string fingerprint(const data::Dataset& dataset, const FitOptions& fit) const;
};

}  // namespace nibble::train
