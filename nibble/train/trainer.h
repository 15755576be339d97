// nibble/train/trainer.h
// Trains a graph::Model on a data set. Torch stays behind this header.
//
// The loss is categorical cross-entropy, or an error such as the mean squared one (loss_names.h). Labels are class
// numbers, so Keras' categorical (one-hot) and sparse forms are the same here; samples with targets (data::Samples) are
// compared with those: probabilities by cross-entropy, any numbers by errors.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "nibble/core/error.h"
#include "nibble/data/augmentation.h"
#include "nibble/data/dataset.h"
#include "nibble/graph/model.h"
#include "nibble/graph/qnoise.h"
#include "nibble/train/distillation.h"
#include "nibble/train/quantization_phase.h"

namespace nibble::train {

class ProcessGroup;  // process_group.h

enum class OptimizerKind { kAdam, kSgd };
enum class ScheduleKind { kConstant, kCosine };
// kReestimated: before each evaluation the batch-norm statistics are measured anew on some
// training batches, in the inference phase (default). kMoving: Keras' moving averages.
enum class BatchNormStatistics { kReestimated, kMoving };

// What is evaluated and saved after an epoch. kTail: the mean of the weights over the steps of the
// second half of the epoch; training itself goes on from the weights of its last step. kNone:
// those of the last step, Keras' way.
enum class WeightAveraging { kTail, kNone };

// By Keras' names and formulas: loss_names.h. Append only: checkpoints depend on the values.
enum class LossKind {
  kCrossEntropy,
  kMeanSquaredError,
  kMeanAbsoluteError,
  kMeanAbsolutePercentageError,
  kMeanSquaredLogarithmicError,
  kHuber,
  kLogCosh,
  kBinaryCrossEntropy,
  kPoisson,
  kKlDivergence
};
// What errors compare the outputs with. kLabel: the label itself where the model has one output, else 1 at the label
// and 0 elsewhere; targets where the samples have them. kInput: the sample, as in an autoencoder.
enum class Target { kLabel, kInput };

struct CompileOptions {
  OptimizerKind optimizer = OptimizerKind::kAdam;
  double learning_rate = 1e-3;
  double momentum = 0.0;                                // SGD
  bool nesterov = false;                                // SGD
  double beta_1 = 0.9, beta_2 = 0.999, epsilon = 1e-7;  // Adam, Keras' defaults
  BatchNormStatistics batch_norm_statistics = BatchNormStatistics::kReestimated;
  // Nothing: kTail where the batch-norm statistics are re-estimated, kNone with moving ones, since
  // those belong to the weights of each step.
  std::optional<WeightAveraging> weight_averaging = std::nullopt;
  LossKind loss = LossKind::kCrossEntropy;
  Target target = Target::kLabel;  // kInput: not with cross-entropy
  // Layer -> factor of the learning rate of its weights; 0: they stay as they are. Layers not named: 1.
  std::map<std::string, double> layer_learning_rates = {};
  int reestimation_batches = 8;  // training batches (at the training batch size) per re-estimation
  uint64_t seed = 0;
  int threads = 1;
  // False: every layer runs as plain torch operations; the reference that the fused path is
  // tested against.
  bool fused = true;
  // If given, each process calls fit() and evaluate() with the same arguments and computes its share of every batch.
  // All end with the same weights: those of one process, up to the order of sums (random layers other than Dropout, and
  // stochastic activations, draw other numbers). Only the first writes the checkpoint.
  std::shared_ptr<ProcessGroup> processes = nullptr;
};

struct EpochLog {
  int epoch = 0;  // 1-based
  double learning_rate = 0;
  double loss = 0, accuracy = 0;  // training, averaged over the epoch
  std::optional<double> val_loss, val_accuracy;
  double seconds = 0;
  std::optional<double> val_mse = {}, val_mae = {};  // where the loss is an error
  bool has_accuracy = true;                          // as Evaluation::has_accuracy; else accuracies are 0
  std::optional<double> mse = {}, mae = {};          // training, where the loss is an error
  // FitOptions::validation_freq leaves this epoch out: there is no val_... of it, and the batch-norm statistics are
  // moving averages still.
  bool skips_validation = false;
};
using History = std::vector<EpochLog>;

// Called during fit. Return values steer; exceptions end the training and pass through.
class Callback {
 public:
  virtual ~Callback() = default;
  virtual void on_train_begin(int epochs, int64_t steps_per_epoch) {}
  // Epochs and their steps count from 1, as below.
  virtual void on_batch_begin(int epoch, int64_t step, class Trainer& trainer) {}
  // Of the epoch so far; no accuracy where the epoch's log has none.
  virtual void on_batch_end(int epoch, int64_t step, double loss, std::optional<double> accuracy) {}
  // Returns true to stop after this epoch. What watches a validation value passes over epochs that skip it.
  virtual bool on_epoch_end(const EpochLog& log, class Trainer& trainer) { return false; }
  virtual void on_train_end() {}
  // True: it saves or keeps the weights of epochs that skip the validation too. Batch-norm statistics are then
  // re-estimated after every epoch.
  virtual bool keeps_every_epoch() const { return false; }
  // Tells callbacks apart in a checkpoint; two of one name must not be given to one fit().
  virtual std::string name() const { return "callback"; }
  // Kept in the checkpoint and given back when the training is resumed. Default: nothing.
  virtual nlohmann::json state() const;
  virtual void restore(const nlohmann::json& state);
};

struct FitOptions {
  int epochs = 10;
  int64_t batch_size = 32;
  ScheduleKind schedule = ScheduleKind::kConstant;  // kCosine: to 0 at the last epoch
  // If given, the learning rate of each step instead of `schedule`: step counts from 0 over the whole training.
  std::function<double(int64_t step, int64_t total_steps)> learning_rate = {};
  std::vector<Callback*> callbacks = {};  // not owned; called in order
  // An epoch is floor(samples / batch_size) steps, as the tutorial's 29: the last, smaller batch of each shuffle is
  // left out, since its noisier step would be the one just before the evaluation. True: it is a step, as in Keras.
  bool keep_remainder = false;
  // If given, a teacher's outputs are learned besides the labels; with cross-entropy alone (distillation.h).
  std::optional<Distillation> distillation = std::nullopt;
  // Changes the images of the batches that are trained on, by the seed of CompileOptions. Never those of an evaluation,
  // a prediction, a calibration or a re-estimation of batch-norm statistics: what is deployed sees images as they are.
  data::Augmentation augmentation = {};
  bool validate = true;  // evaluate on the test split after the epochs that the next two say
  // Keras': after every so many epochs (2: epochs 2, 4, ...), and always after the last. The epochs between are trained
  // alone: batch-norm statistics are not re-estimated after them either, unless a callback keeps their weights. Where
  // one of them is the last after all, since a callback or `stop` ended the training, they are re-estimated then.
  int validation_freq = 1;
  std::set<int> validation_epochs = {};     // after these too, from 1
  const std::atomic<bool>* stop = nullptr;  // checked after each step; true ends the fit cleanly
  // Written after every epoch (atomically) if given; fit() goes on from it if it exists and
  // `resume` is set, to the same bytes as an undisturbed run. Fewer epochs than it has done are refused.
  std::filesystem::path checkpoint = {};
  bool resume = false;
};

struct Evaluation {
  double loss = 0;
  double accuracy = 0;       // 0 where there is none
  double mse = 0, mae = 0;   // where the loss is an error
  bool has_accuracy = true;  // false where an error is measured against the input or against targets
};

// The loss became NaN or infinite; the message says in which epoch and step.
class NonFiniteLoss : public Error {
 public:
  using Error::Error;
};

// What fit() and evaluate() ask of samples, without making the network.
//   model   of one input and one output
//   throws  InvalidArgument if data and model do not fit
void check_samples(const graph::Model& model, LossKind loss, Target target, const data::Samples& samples);

class Trainer {
 public:
  // Weights that are missing are initialised from options.seed.
  //   throws  Unsupported naming the layer that cannot be trained; InvalidArgument for options that do not fit
  Trainer(graph::Model model, const CompileOptions& options);
  ~Trainer();
  Trainer(Trainer&&) noexcept;
  Trainer& operator=(Trainer&&) noexcept;

  // Trains for options.epochs epochs (in total, when resumed).
  //   throws  InvalidArgument if data and model do not fit, or processes give other ones; NonFiniteLoss
  History fit(const data::Dataset& dataset, const FitOptions& options);

  // With re-estimated statistics these use what the last fit() measured.
  Evaluation evaluate(const data::Samples& samples, int64_t batch_size = 1024);
  // x [n, sample shape] -> [n, output shape]
  Tensor predict(const Tensor& x, int64_t batch_size = 1024);
  // Models of several inputs or outputs: one tensor an input, [n, its shape], in the order of graph::Model::inputs ->
  // one an output. fit() and evaluate() need one of each.
  //   throws  InvalidArgument if the tensors do not fit the inputs
  std::vector<Tensor> predict(std::span<const Tensor> inputs, int64_t batch_size = 1024);

  // From now on all quantizers show that much of their quantization, in training, evaluation and prediction
  // (qnoise_scheduler.h).
  void set_qnoise(const graph::QNoise& noise);

  // What affine quantization does from now on, in training, evaluation and prediction (quantization_schedule.h).
  void set_quantization_phase(const QuantizationPhase& phase);

  // Moves the ranges of affine quantization over some batches, in order, and finds learned ones, without training.
  //   throws  InvalidArgument if data and model do not fit
  void calibrate(const data::Samples& samples, int64_t batch_size, int64_t batches);

  // Layer -> how many of its biases do not fit their bits and are clipped (LayerQuantization::bias_bits), as the last
  // evaluation or prediction had them; layers of which none is are left out.
  std::map<std::string, int64_t> saturated_biases() const;

  // The model with its present weights, and the present qnoise_factor where set_qnoise() was called.
  graph::Model model() const;

  // All weights in model order, flat; for callbacks that go back to earlier ones.
  std::vector<std::vector<float>> weights() const;
  void set_weights(const std::vector<std::vector<float>>& weights);  // throws InvalidArgument on other sizes

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace nibble::train
