// Trainer::fit(): epochs, checkpoints, callbacks.
#include <ATen/ATen.h>
#include <zlib.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "nibble/train/checkpoint.h"
#include "nibble/train/process_settings.h"
#include "nibble/train/trainer_impl.h"

namespace nibble::train {
namespace {

double scheduled_rate(const CompileOptions& compiled, const FitOptions& options, int64_t step, int64_t total_steps) {
  if (options.learning_rate) return options.learning_rate(step, total_steps);
  if (options.schedule == ScheduleKind::kConstant) return compiled.learning_rate;
  const double progress = static_cast<double>(step) / static_cast<double>(std::max<int64_t>(1, total_steps));
  return compiled.learning_rate * 0.5 * (1.0 + std::cos(std::numbers::pi * std::min(1.0, progress)));
}

void check_options(const FitOptions& options, const data::Dataset& dataset) {
  if (options.epochs < 1) throw InvalidArgument("[fit] epochs is {}; it must be at least 1.", options.epochs);
  if (options.batch_size < 1)
    throw InvalidArgument("[fit] batch_size is {}; it must be at least 1.", options.batch_size);
  if (options.validation_freq < 1) {
    throw InvalidArgument(
        "[fit] validation_freq is {}; it must be at least 1, which validates after every epoch. For none at all set "
        "validate to false.",
        options.validation_freq);
  }
  if (dataset.train.count() == 0) throw InvalidArgument("[fit] data set '{}' has no training samples.", dataset.name);
}

bool skips_validation(const FitOptions& options, int epoch) {
  return epoch % options.validation_freq != 0 && epoch != options.epochs && !options.validation_epochs.contains(epoch);
}

bool keeps_every_epoch(const FitOptions& options) {
  return std::ranges::any_of(options.callbacks, [](const Callback* callback) { return callback->keeps_every_epoch(); });
}

uint32_t digest(std::span<const float> values) {
  return static_cast<uint32_t>(
      crc32_z(0, reinterpret_cast<const Bytef*>(values.data()), values.size() * sizeof(float)));
}

// What the network sees of a data set: tells one preprocessing or selection from another.
uint32_t digest(const data::Samples& samples) {
  constexpr int64_t kLooks = 64;
  const int64_t count = std::min(samples.count(), kLooks);
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < count; ++i) indices.push_back(i * samples.count() / count);
  std::vector<float> values(static_cast<size_t>(count * samples.shape().elements()));
  samples.gather(indices, values);
  const auto sum =
      crc32(0, reinterpret_cast<const Bytef*>(values.data()), static_cast<uInt>(values.size() * sizeof(float)));
  if (samples.has_targets()) {
    const auto targets = samples.targets().data();
    return static_cast<uint32_t>(crc32_z(sum, reinterpret_cast<const Bytef*>(targets.data()), targets.size_bytes()));
  }
  return static_cast<uint32_t>(crc32(sum, reinterpret_cast<const Bytef*>(samples.labels().data()),
                                     static_cast<uInt>(samples.labels().size_bytes())));
}

std::string digest_text(const data::Samples& samples) {
  return samples.count() == 0 ? "none" : fmt::format("{:08x}", digest(samples));
}

uint32_t digest(const std::string& text) {
  return static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(text.data()), text.size()));
}

// What several processes must agree on, in words where it is short. What a teacher gives is left out: it may differ in
// the last bit where processors do.
Settings settings_of(const graph::Model& structure, const std::vector<std::vector<float>>& weights,
                     const CompileOptions& compiled, const FitOptions& fit, const data::Dataset& dataset) {
  uint32_t weights_digest = 0;
  for (const auto& values : weights) {
    weights_digest = static_cast<uint32_t>(
        crc32_z(weights_digest, reinterpret_cast<const Bytef*>(values.data()), values.size() * sizeof(float)));
  }
  nlohmann::json more = {compiled.nesterov,
                         compiled.beta_1,
                         compiled.beta_2,
                         compiled.epsilon,
                         static_cast<int>(compiled.batch_norm_statistics),
                         static_cast<int>(compiled.weight_averaging.value_or(WeightAveraging::kTail)),
                         compiled.weight_averaging.has_value(),
                         compiled.layer_learning_rates,
                         compiled.reestimation_batches,
                         compiled.fused,
                         fit.keep_remainder,
                         fit.validate,
                         fit.validation_epochs};
  if (fit.distillation) more.push_back({fit.distillation->weight, fit.distillation->temperature});
  return {{"model", fmt::format("{:08x}", digest(graph::to_config(structure).dump()))},
          {"weights", fmt::format("{:08x}", weights_digest)},
          {"optimizer", compiled.optimizer == OptimizerKind::kAdam ? "adam" : "sgd"},
          {"learning rate", fmt::format("{}", compiled.learning_rate)},
          {"momentum", fmt::format("{}", compiled.momentum)},
          {"seed", std::to_string(compiled.seed)},
          {"loss", std::to_string(static_cast<int>(compiled.loss))},
          {"target", compiled.target == Target::kInput ? "input" : "label"},
          {"other options", fmt::format("{:08x}", digest(more.dump()))},
          {"epochs", std::to_string(fit.epochs)},
          {"batch size", std::to_string(fit.batch_size)},
          {"schedule", fit.schedule == ScheduleKind::kCosine ? "cosine" : "constant"},
          {"validation every", std::to_string(fit.validation_freq)},
          {"augmentation", data::to_string(fit.augmentation)},
          {"data set", dataset.name},
          {"training samples", std::to_string(dataset.train.count())},
          {"test samples", std::to_string(dataset.test.count())},
          {"training data", digest_text(dataset.train)},
          {"test data", digest_text(dataset.test)}};
}

// After the checkpoint was read: its epochs and weights are compared too.
void require_equal_processes(ProcessGroup& processes, Settings settings, int epochs_done) {
  settings["epochs done"] = std::to_string(epochs_done);
  require_equal_settings(processes, settings);
}

}  // namespace

nlohmann::json Callback::state() const { return nullptr; }
void Callback::restore(const nlohmann::json&) {}

bool Trainer::Impl::averages() const {
  const bool moves = options.batch_norm_statistics == BatchNormStatistics::kMoving;
  const auto averaging = options.weight_averaging.value_or(moves ? WeightAveraging::kNone : WeightAveraging::kTail);
  return averaging == WeightAveraging::kTail;
}

// What the result of a training depends on.
std::string Trainer::Impl::fingerprint(const data::Dataset& dataset, const FitOptions& fit) const {
  nlohmann::json what = {graph::to_config(network.structure()),
                         static_cast<int>(options.optimizer),
                         options.learning_rate,
                         options.momentum,
                         options.nesterov,
                         options.beta_1,
                         options.beta_2,
                         options.epsilon,
                         static_cast<int>(options.batch_norm_statistics),
                         averages(),
                         static_cast<int>(options.loss),
                         static_cast<int>(options.target),
                         options.layer_learning_rates,
                         options.reestimation_batches,
                         options.seed,
                         options.fused,
                         fit.batch_size,
                         static_cast<int>(fit.schedule),
                         fit.schedule == ScheduleKind::kConstant ? 0 : fit.epochs,
                         dataset.name,
                         dataset.train.count(),
                         digest(dataset.train)};
  if (fit.distillation) {  // checkpoints without one stay as they were
    what.push_back({fit.distillation->weight, fit.distillation->temperature, digest(fit.distillation->outputs.data())});
  }
  if (!fit.augmentation.is_none()) what.push_back({"augmentation", data::to_string(fit.augmentation)});
  // Statistics that are re-estimated are also what frozen ones stay at.
  if (fit.validation_freq != 1) what.push_back({"validation", fit.validation_freq, fit.validation_epochs});
  const std::string text = what.dump();
  return fmt::format("{:08x}-{}", crc32(0, reinterpret_cast<const Bytef*>(text.data()), static_cast<uInt>(text.size())),
                     text.size());
}

namespace {

// The progress of one fit(): where it stands, and its checkpoint.
class Fit {
 public:
  Fit(Trainer& trainer, WeightAverage& average, const FitOptions& options)
      : trainer_(trainer), average_(average), options_(options) {}

  // Returns what is done already.
  Checkpoint begin(const std::string& fingerprint) {
    Checkpoint state;
    state.fingerprint = fingerprint;
    if (options_.resume && !options_.checkpoint.empty() && std::filesystem::exists(options_.checkpoint)) {
      state = load_checkpoint(options_.checkpoint, fingerprint);
      require_epochs(state);
      trainer_.set_weights(state.weights);
      average_.restore_trained(state.trained_weights);
      restore_callbacks(state.callbacks);
      // More epochs are asked for than when a callback ended the training: it goes on.
      if (options_.epochs > state.epochs_asked) state.finished = false;
    }
    return state;
  }

  // True if a callback wants to stop.
  bool end_epoch(const EpochLog& log) {
    bool stops = false;
    for (Callback* callback : options_.callbacks) stops = callback->on_epoch_end(log, trainer_) || stops;
    return stops;
  }

  void save(Checkpoint& state, const Optimizer& optimizer, int64_t step) {
    if (options_.checkpoint.empty()) return;
    state.steps_done = step;
    state.weights = trainer_.weights();
    state.trained_weights = average_.trained();
    state.optimizer = optimizer.state();
    state.epochs_asked = options_.epochs;
    state.callbacks = nlohmann::json::object();
    for (const Callback* callback : options_.callbacks) state.callbacks[callback->name()] = callback->state();
    save_checkpoint(state, options_.checkpoint);
  }

 private:
  // Less than what is done already has no weights any more: only those after the last epoch are kept.
  void require_epochs(const Checkpoint& state) const {
    if (state.epochs_done <= options_.epochs) return;
    throw InvalidArgument(
        "[fit] {} epochs in total were asked for, but {} are done already in {}, which holds the weights after the "
        "last "
        "of them alone. Ask for {} epochs or more, or remove the checkpoint to begin anew.",
        options_.epochs, state.epochs_done, options_.checkpoint.string(), state.epochs_done);
  }

  void restore_callbacks(const nlohmann::json& states) {
    for (Callback* callback : options_.callbacks) {
      const auto found = states.find(callback->name());
      if (found == states.end() || found->is_null()) continue;
      try {
        callback->restore(*found);
      } catch (const nlohmann::json::exception& error) {
        throw CorruptFile("[checkpoint] {} holds no state of the callback {}: {}.", options_.checkpoint.string(),
                          callback->name(), error.what());
      }
    }
  }

  Trainer& trainer_;
  WeightAverage& average_;
  const FitOptions& options_;
};

}  // namespace

// One pass over the training set. False if it was stopped before its end.
bool Trainer::Impl::train_epoch(Trainer& trainer, const data::Samples& samples, const FitOptions& fit,
                                int64_t steps_per_epoch, EpochLog& log) {
  const auto order = data::shuffled_indices(samples.count(), options.seed, log.epoch - 1);
  const int64_t total_steps = steps_per_epoch * fit.epochs;
  const int64_t first_step = steps_per_epoch * (log.epoch - 1);
  log.learning_rate = scheduled_rate(options, fit, first_step, total_steps);
  int64_t seen = 0;
  double loss_sum = 0, correct = 0, mse_sum = 0, mae_sum = 0;
  average.begin();
  for (int64_t s = 0; s < steps_per_epoch; ++s) {
    const int64_t first = s * fit.batch_size, size = std::min(fit.batch_size, samples.count() - first);
    const std::span<const int64_t> batch(order.data() + first, static_cast<size_t>(size));
    const double rate = scheduled_rate(options, fit, first_step + s, total_steps);
    for (Callback* callback : fit.callbacks) callback->on_batch_begin(log.epoch, s + 1, trainer);
    const StepResult result = train_step(samples, batch, rate, fit, log.epoch - 1);
    if (!std::isfinite(result.loss)) {
      throw NonFiniteLoss(fmt::format(
          "[fit] the loss became {} in epoch {}, step {}. Try a smaller learning rate (it is {}) or wider quantizers.",
          std::abs(result.loss), log.epoch, s + 1, rate));  // nan has a sign that says nothing
    }
    if (averages() && 2 * s >= steps_per_epoch) average.add();
    loss_sum += result.loss * static_cast<double>(size);
    seen += size;
    correct += result.correct;
    log.loss = loss_sum / static_cast<double>(seen);
    log.accuracy = correct / static_cast<double>(seen);
    if (objective.is_error()) {
      mse_sum += result.mse * static_cast<double>(size);
      mae_sum += result.mae * static_cast<double>(size);
      log.mse = mse_sum / static_cast<double>(seen);
      log.mae = mae_sum / static_cast<double>(seen);
    }
    const auto accuracy = log.has_accuracy ? std::optional<double>(log.accuracy) : std::nullopt;
    for (Callback* callback : fit.callbacks) callback->on_batch_end(log.epoch, s + 1, log.loss, accuracy);
    if (stops(fit)) return false;
  }
  return true;
}

void Trainer::Impl::validate(const data::Samples& samples, EpochLog& log) {
  const Evaluation evaluation = evaluate(samples, 1024);
  if (!std::isfinite(evaluation.loss)) {
    throw NonFiniteLoss(
        fmt::format("[fit] the validation loss became {} after epoch {}. Try a smaller learning "
                    "rate (it is {}) or wider quantizers.",
                    std::abs(evaluation.loss), log.epoch, log.learning_rate));
  }
  log.val_loss = evaluation.loss;
  log.val_accuracy = evaluation.accuracy;
  if (!objective.is_error()) return;
  log.val_mse = evaluation.mse;
  log.val_mae = evaluation.mae;
}

History Trainer::fit(const data::Dataset& dataset, const FitOptions& options) {
  check_options(options, dataset);
  impl_->network.require_single("train");
  impl_->check_data(dataset.train);
  const bool validates = options.validate && dataset.test.count() > 0;
  if (validates) impl_->check_data(dataset.test);
  impl_->check_augmentation(options.augmentation, dataset.train);
  if (options.distillation) impl_->check_distillation(*options.distillation, dataset.train);
  impl_->set_teacher(options);
  const int64_t whole_batches = dataset.train.count() / options.batch_size;
  const bool has_remainder = dataset.train.count() % options.batch_size != 0;
  const int64_t steps_per_epoch =
      whole_batches + (has_remainder && (options.keep_remainder || whole_batches == 0) ? 1 : 0);

  Fit fit(*this, impl_->average, options);
  Checkpoint state = fit.begin(impl_->fingerprint(dataset, options));
  if (state.epochs_done > 0) {
    impl_->optimizer->restore(state.optimizer);
    impl_->step = state.steps_done;
  }
  if (impl_->options.processes != nullptr) {
    require_equal_processes(*impl_->options.processes,
                            settings_of(impl_->network.structure(), weights(), impl_->options, options, dataset),
                            state.epochs_done);
  }
  for (Callback* callback : options.callbacks) callback->on_train_begin(options.epochs, steps_per_epoch);
  const auto stopped = [&] { return impl_->stops(options); };
  const auto reestimate = [&] { impl_->reestimate(dataset.train, options.batch_size); };
  // Its batch-norm statistics are not those of its weights.
  const auto lags = [keeps_all = keeps_every_epoch(options)](const EpochLog& log) {
    return log.skips_validation && !keeps_all;
  };
  while (state.epochs_done < options.epochs && !state.finished && !stopped()) {
    const auto started = std::chrono::steady_clock::now();
    EpochLog log;
    log.epoch = state.epochs_done + 1;
    log.has_accuracy = impl_->objective.has_accuracy(dataset.train);
    // An epoch that is not whole leaves the checkpoint of the one before.
    if (!impl_->train_epoch(*this, dataset.train, options, steps_per_epoch, log)) break;
    impl_->average.show();
    log.skips_validation = skips_validation(options, log.epoch);
    if (!lags(log)) reestimate();
    if (validates && !log.skips_validation) impl_->validate(dataset.test, log);
    log.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    state.history.push_back(log);
    ++state.epochs_done;
    state.finished = fit.end_epoch(log);
    if (state.finished && lags(log)) reestimate();
    const bool writes = impl_->options.processes == nullptr || impl_->options.processes->is_first();
    if (writes) fit.save(state, *impl_->optimizer, impl_->step);
  }
  // It was stopped, or no more epochs are asked for than a checkpoint has; its own statistics stay in the checkpoint.
  if (!state.finished && !state.history.empty() && lags(state.history.back())) reestimate();
  for (Callback* callback : options.callbacks) callback->on_train_end();
  return state.history;
}

}  // namespace nibble::train
