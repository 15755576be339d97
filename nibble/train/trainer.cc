#include "nibble/train/trainer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <zlib.h>

#include <array>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "nibble/train/caching_allocator.h"
#include "nibble/train/checkpoint.h"
#include "nibble/train/loss.h"
#include "nibble/train/network.h"
#include "nibble/train/objective.h"
#include "nibble/train/process_group.h"
#include "nibble/train/weight_average.h"

namespace nibble::train {
namespace {

graph::Model with_weights(graph::Model model, uint64_t seed) {
  graph::validate(model);
  graph::initialize_weights(model, seed);
  return model;
}

std::span<float> values_of(const at::Tensor& t) { return {t.data_ptr<float>(), static_cast<size_t>(t.numel())}; }

double scheduled_rate(const CompileOptions& compiled, const FitOptions& options, int64_t step, int64_t total_steps) {
  if (options.learning_rate) return options.learning_rate(step, total_steps);
  if (options.schedule == ScheduleKind::kConstant) return compiled.learning_rate;
  const double progress = static_cast<double>(step) / static_cast<double>(std::max<int64_t>(1, total_steps));
  return compiled.learning_rate * 0.5 * (1.0 + std::cos(std::numbers::pi * std::min(1.0, progress)));
}

void check_averaging(const CompileOptions& options) {
  if (options.weight_averaging != WeightAveraging::kTail) return;
  if (options.batch_norm_statistics != BatchNormStatistics::kMoving) return;
  throw InvalidArgument(
      "[train] averaged weights need re-estimated batch-norm statistics: moving ones belong to the weights of single "
      "steps. Leave one of the two out.");
}

// One factor a trainable parameter.
std::vector<float> rate_factors(const Network& network, const std::map<std::string, double>& layers) {
  const std::vector<graph::Layer>& known = network.structure().layers;
  for (const auto& [name, factor] : layers) {
    if (!(factor >= 0) || !std::isfinite(factor)) {
      throw InvalidArgument("[train] the learning rate of layer '{}' is multiplied by {}; give 0 (frozen) or more.",
                            name, factor);
    }
    if (network.structure().find_layer(name) != nullptr) continue;
    throw InvalidArgument("[train] a learning rate is given for layer '{}', which model '{}' does not have.", name,
                          network.structure().name);
  }
  std::vector<float> factors;
  for (const Parameter& parameter : network.parameters()) {
    if (!parameter.trainable) continue;
    const auto found = layers.find(known[static_cast<size_t>(parameter.layer)].name);
    factors.push_back(found == layers.end() ? 1.0f : static_cast<float>(found->second));
  }
  return factors;
}

// Adam moves every number by about the learning rate, whatever its size. A step between codes may be a hundred times
// smaller than that: its changes are measured by its own size.
float natural_rate(const CompileOptions& options, const Parameter& parameter) {
  if (options.optimizer != OptimizerKind::kAdam || !parameter.measure.defined()) return 1.0f;
  return parameter.measure.detach().abs().mean().item<float>();
}

void check_batch_size(int64_t batch_size) {
  if (batch_size < 1) throw InvalidArgument("[train] batch_size is {}; it must be at least 1.", batch_size);
}

void check_options(const FitOptions& options, const data::Dataset& dataset) {
  if (options.epochs < 1) throw InvalidArgument("[fit] epochs is {}; it must be at least 1.", options.epochs);
  if (options.batch_size < 1)
    throw InvalidArgument("[fit] batch_size is {}; it must be at least 1.", options.batch_size);
  if (dataset.train.count() == 0) throw InvalidArgument("[fit] data set '{}' has no training samples.", dataset.name);
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
  return static_cast<uint32_t>(crc32(sum, reinterpret_cast<const Bytef*>(samples.labels().data()),
                                     static_cast<uInt>(samples.labels().size_bytes())));
}

}  // namespace

nlohmann::json Callback::state() const { return nullptr; }
void Callback::restore(const nlohmann::json&) {}

struct Trainer::Impl {
  Impl(graph::Model model, const CompileOptions& compile_options)
      : options(compile_options),
        objective(options.loss, options.target),
        network(with_weights(std::move(model), options.seed), options.fused, options.seed),
        factors(rate_factors(network, options.layer_learning_rates)),
        average(network.parameters()) {
    std::vector<int64_t> sizes;
    for (const Parameter& parameter : network.parameters()) {
      if (parameter.trainable) sizes.push_back(parameter.value.numel());
    }
    optimizer = std::make_unique<Optimizer>(options, sizes);
  }

  CompileOptions options;
  Objective objective;
  Network network;
  std::vector<float> factors;  // of the learning rate, one a trainable parameter
  WeightAverage average;
  std::unique_ptr<Optimizer> optimizer;
  int64_t step = 0;  // optimizer steps so far

  bool averages() const;
  Share share(int64_t batch) const;
  bool stops(const FitOptions& fit) const;
  void sum_gradients();
  void check_data(const data::Samples& samples) const;
  at::Tensor inputs(const data::Samples& samples, std::span<const int64_t> indices) const;
  at::Tensor labels(const data::Samples& samples, std::span<const int64_t> indices) const;
  struct StepResult {
    double loss = 0;
    int64_t correct = 0;
  };
  StepResult sum_over_processes(const StepResult& own) const;
  StepResult train_step(const data::Samples& samples, std::span<const int64_t> indices, double learning_rate);
  bool train_epoch(Trainer& trainer, const data::Samples& samples, const FitOptions& fit, int64_t steps_per_epoch,
                   EpochLog& log);
  void reestimate(const data::Samples& samples, int64_t batch_size);
  Evaluation evaluate(const data::Samples& samples, int64_t batch_size);
  std::string fingerprint(const data::Dataset& dataset, const FitOptions& fit) const;
};

bool Trainer::Impl::averages() const {
  const bool moves = options.batch_norm_statistics == BatchNormStatistics::kMoving;
  const auto averaging = options.weight_averaging.value_or(moves ? WeightAveraging::kNone : WeightAveraging::kTail);
  return averaging == WeightAveraging::kTail;
}

// Of a batch, what this process computes.
Share Trainer::Impl::share(int64_t batch) const {
  if (options.processes == nullptr) return {0, batch};
  return share_of(batch, options.processes->rank(), options.processes->size(), kUnitSamples);
}

// One process that is asked to stop stops all.
bool Trainer::Impl::stops(const FitOptions& fit) const {
  const bool asked = fit.stop != nullptr && fit.stop->load();
  if (options.processes == nullptr) return asked;
  double votes = asked ? 1.0 : 0.0;
  options.processes->sum(std::span(&votes, 1));
  return votes > 0;
}

// The gradients of all processes, in one message.
void Trainer::Impl::sum_gradients() {
  std::vector<float> all;
  const auto each = [&](const auto& visit) {
    for (const Parameter& parameter : network.parameters()) {
      if (parameter.value.grad().defined()) visit(parameter.value.grad());
    }
  };
  each([&](const at::Tensor& gradient) {
    const at::Tensor values = gradient.contiguous();
    all.insert(all.end(), values.data_ptr<float>(), values.data_ptr<float>() + values.numel());
  });
  options.processes->sum(all);
  const float* next = all.data();
  each([&](const at::Tensor& gradient) {
    gradient.copy_(at::from_blob(const_cast<float*>(next), gradient.sizes(), at::kFloat));
    next += gradient.numel();
  });
}

void Trainer::Impl::check_data(const data::Samples& samples) const {
  network.require_single("train");
  const Shape expected = network.input_shape();
  const bool is_flat = samples.shape().rank() == 1 || expected.rank() == 1;
  const bool fits = samples.shape() == expected || (is_flat && samples.shape().elements() == expected.elements());
  if (!fits) {
    throw InvalidArgument("[train] model '{}' takes samples of shape {}, but the data have {}.",
                          network.structure().name, expected.str(), samples.shape().str());
  }
  objective.check(network.structure().name, network.output_shape(), samples);
}

at::Tensor Trainer::Impl::inputs(const data::Samples& samples, std::span<const int64_t> indices) const {
  std::vector<int64_t> extents = {static_cast<int64_t>(indices.size())};
  for (const int64_t extent : network.input_shape()) extents.push_back(extent);
  at::Tensor x = at::empty(extents, at::kFloat);
  samples.gather(indices, values_of(x));
  return x;
}

at::Tensor Trainer::Impl::labels(const data::Samples& samples, std::span<const int64_t> indices) const {
  at::Tensor y = at::empty({static_cast<int64_t>(indices.size())}, at::kLong);
  auto* out = y.data_ptr<int64_t>();
  for (const int64_t index : indices) *out++ = samples.labels()[static_cast<size_t>(index)];
  return y;
}

Trainer::Impl::StepResult Trainer::Impl::sum_over_processes(const StepResult& own) const {
  std::array<double, 2> sums = {own.loss, static_cast<double>(own.correct)};
  options.processes->sum(sums);
  return {sums[0], std::llround(sums[1])};
}

Trainer::Impl::StepResult Trainer::Impl::train_step(const data::Samples& samples, std::span<const int64_t> indices,
                                                    double learning_rate) {
  const Share mine = share(std::ssize(indices));
  const auto own = indices.subspan(static_cast<size_t>(mine.first), static_cast<size_t>(mine.count));
  const at::Tensor x = inputs(samples, own);
  const Answers y = objective.answers(labels(samples, own), x, network.output_shape());
  network.set_share(options.processes.get(), mine.first);
  for (const Parameter& parameter : network.parameters()) parameter.value.mutable_grad().reset();
  const at::Tensor outputs = network.forward(x, Pass::kTraining, static_cast<uint32_t>(step), objective.takes_logits());
  at::Tensor loss = objective.loss(outputs, y, network.has_softmax());
  loss = loss * (static_cast<double>(mine.count) / static_cast<double>(indices.size()));
  const at::Tensor penalty = network.penalty();
  const bool is_first = options.processes == nullptr || options.processes->is_first();
  if (penalty.defined() && is_first) loss = loss + penalty;
  StepResult result{loss.item<float>(), objective.count_correct(outputs, y)};
  if (options.processes != nullptr) result = sum_over_processes(result);
  if (!std::isfinite(result.loss)) return result;
  loss.backward();

  const at::NoGradGuard no_gradient;
  if (options.processes != nullptr) sum_gradients();
  optimizer->begin_step(learning_rate);
  size_t index = 0;
  for (const Parameter& parameter : network.parameters()) {
    if (!parameter.trainable) continue;
    const size_t slot = index++;
    if (!parameter.value.grad().defined() || factors[slot] == 0.0f) continue;
    const at::Tensor gradient = parameter.value.grad().contiguous();
    const std::span<float> values = values_of(parameter.value);
    optimizer->update(slot, values, values_of(gradient), factors[slot] * natural_rate(options, parameter));
    graph::apply_constraint(parameter.constraint, Shape(parameter.value.sizes().vec()), values);
  }
  ++step;
  return result;
}

void Trainer::Impl::reestimate(const data::Samples& samples, int64_t batch_size) {
  if (options.batch_norm_statistics == BatchNormStatistics::kMoving) return;
  const at::NoGradGuard no_gradient;
  const int64_t count = samples.count();
  const int64_t batch = std::min(batch_size, count);
  const int64_t batches = std::min<int64_t>(options.reestimation_batches, count / batch);
  network.begin_reestimation();
  for (int64_t b = 0; b < batches; ++b) {
    // Spread evenly over the training set, whatever its order.
    std::vector<int64_t> indices;
    const Share mine = share(batch);
    for (int64_t i = mine.first; i < mine.first + mine.count; ++i) {
      indices.push_back((i * batches + b) * count / (batch * batches));
    }
    network.set_share(options.processes.get(), mine.first);
    network.forward(inputs(samples, indices), Pass::kReestimation, 0, true);
  }
  network.end_reestimation();
}

Evaluation Trainer::Impl::evaluate(const data::Samples& samples, int64_t batch_size) {
  check_batch_size(batch_size);
  check_data(samples);
  const at::NoGradGuard no_gradient;
  double loss = 0, mse = 0, mae = 0;
  int64_t correct = 0;
  std::vector<int64_t> indices;
  // Whole batches are dealt out to the processes in turn.
  const int64_t rank = options.processes == nullptr ? 0 : options.processes->rank();
  const int64_t size = options.processes == nullptr ? 1 : options.processes->size();
  for (int64_t begin = rank * batch_size; begin < samples.count(); begin += size * batch_size) {
    indices.clear();
    for (int64_t i = begin; i < std::min(begin + batch_size, samples.count()); ++i) indices.push_back(i);
    const at::Tensor x = inputs(samples, indices);
    const Answers y = objective.answers(labels(samples, indices), x, network.output_shape());
    const at::Tensor outputs = network.forward(x, Pass::kInference, 0, objective.takes_logits());
    const auto size = static_cast<double>(indices.size());
    loss += objective.loss(outputs, y, network.has_softmax()).item<double>() * size;
    if (objective.is_error()) {
      mse += mean_squared_error(outputs, y.values).item<double>() * size;
      mae += mean_absolute_error(outputs, y.values).item<double>() * size;
    }
    correct += objective.count_correct(outputs, y);
  }
  if (options.processes != nullptr) {
    std::array<double, 4> sums = {loss, static_cast<double>(correct), mse, mae};
    options.processes->sum(sums);
    loss = sums[0], correct = std::llround(sums[1]), mse = sums[2], mae = sums[3];
  }
  const auto count = static_cast<double>(std::max<int64_t>(1, samples.count()));
  if (const at::Tensor penalty = network.penalty(); penalty.defined()) loss += count * penalty.item<double>();
  return {loss / count, static_cast<double>(correct) / count, mse / count, mae / count};
}

// What the result of a training depends on.
std::string Trainer::Impl::fingerprint(const data::Dataset& dataset, const FitOptions& fit) const {
  const nlohmann::json what = {graph::to_config(network.structure()),
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
  const std::string text = what.dump();
  return fmt::format("{:08x}-{}", crc32(0, reinterpret_cast<const Bytef*>(text.data()), static_cast<uInt>(text.size())),
                     text.size());
}

Trainer::Trainer(graph::Model model, const CompileOptions& options) {
  check_averaging(options);
  install_caching_allocator();
  empty_cache();  // the sizes of an earlier network are of no use to this one
  at::set_num_threads(std::max(1, options.threads));
  impl_ = std::make_unique<Impl>(std::move(model), options);
}

Trainer::~Trainer() = default;
Trainer::Trainer(Trainer&&) noexcept = default;
Trainer& Trainer::operator=(Trainer&&) noexcept = default;

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
  int64_t seen = 0, correct = 0;
  double loss_sum = 0;
  average.begin();
  for (int64_t s = 0; s < steps_per_epoch; ++s) {
    const int64_t first = s * fit.batch_size, size = std::min(fit.batch_size, samples.count() - first);
    const std::span<const int64_t> batch(order.data() + first, static_cast<size_t>(size));
    const double rate = scheduled_rate(options, fit, first_step + s, total_steps);
    for (Callback* callback : fit.callbacks) callback->on_batch_begin(log.epoch, s + 1, trainer);
    const StepResult result = train_step(samples, batch, rate);
    if (!std::isfinite(result.loss)) {
      throw NonFiniteLoss(fmt::format(
          "[fit] the loss became {} in epoch {}, step {}. Try a smaller learning rate (it is {}) or wider quantizers.",
          result.loss, log.epoch, s + 1, rate));
    }
    if (averages() && 2 * s >= steps_per_epoch) average.add();
    loss_sum += result.loss * static_cast<double>(size);
    seen += size;
    correct += result.correct;
    log.loss = loss_sum / static_cast<double>(seen);
    log.accuracy = static_cast<double>(correct) / static_cast<double>(seen);
    for (Callback* callback : fit.callbacks) callback->on_batch_end(log.epoch, s + 1, log.loss, log.accuracy);
    if (stops(fit)) return false;
  }
  return true;
}

History Trainer::fit(const data::Dataset& dataset, const FitOptions& options) {
  check_options(options, dataset);
  impl_->network.require_trainable();
  impl_->check_data(dataset.train);
  const bool validates = options.validate && dataset.test.count() > 0;
  if (validates) impl_->check_data(dataset.test);
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
  for (Callback* callback : options.callbacks) callback->on_train_begin(options.epochs, steps_per_epoch);
  const auto stopped = [&] { return impl_->stops(options); };
  while (state.epochs_done < options.epochs && !state.finished && !stopped()) {
    const auto started = std::chrono::steady_clock::now();
    EpochLog log;
    log.epoch = state.epochs_done + 1;
    // An epoch that is not whole leaves the checkpoint of the one before.
    if (!impl_->train_epoch(*this, dataset.train, options, steps_per_epoch, log)) break;
    impl_->average.show();
    impl_->reestimate(dataset.train, options.batch_size);
    if (validates) {
      const Evaluation evaluation = impl_->evaluate(dataset.test, 1024);
      if (!std::isfinite(evaluation.loss)) {
        throw NonFiniteLoss(
            fmt::format("[fit] the validation loss became {} after epoch {}. Try a smaller learning "
                        "rate (it is {}) or wider quantizers.",
                        evaluation.loss, log.epoch, log.learning_rate));
      }
      log.val_loss = evaluation.loss;
      log.val_accuracy = evaluation.accuracy;
      if (impl_->objective.is_error()) {
        log.val_mse = evaluation.mse;
        log.val_mae = evaluation.mae;
      }
    }
    log.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    state.history.push_back(log);
    ++state.epochs_done;
    state.finished = fit.end_epoch(log);
    const bool writes = impl_->options.processes == nullptr || impl_->options.processes->is_first();
    if (writes) fit.save(state, *impl_->optimizer, impl_->step);
  }
  for (Callback* callback : options.callbacks) callback->on_train_end();
  return state.history;
}

Evaluation Trainer::evaluate(const data::Samples& samples, int64_t batch_size) {
  return impl_->evaluate(samples, batch_size);
}

namespace {

// Samples begin .. end-1.
at::Tensor rows_of(const Tensor& x, int64_t begin, int64_t end) {
  std::vector<int64_t> extents = x.shape().extents();
  const int64_t row = extents[0] == 0 ? 0 : x.size() / extents[0];
  extents[0] = end - begin;
  at::Tensor rows = at::empty(extents, at::kFloat);
  const auto* source = x.data().data() + begin * row;
  std::copy(source, source + rows.numel(), rows.data_ptr<float>());
  return rows;
}

Tensor to_tensor(const at::Tensor& x) {
  const at::Tensor values = x.contiguous();
  Tensor result{Shape(values.sizes().vec())};
  std::copy(values.data_ptr<float>(), values.data_ptr<float>() + values.numel(), result.data().begin());
  return result;
}

}  // namespace

Tensor Trainer::predict(const Tensor& x, int64_t batch_size) {
  check_batch_size(batch_size);
  impl_->network.require_single("predict");
  const Shape sample = impl_->network.input_shape(), output = impl_->network.output_shape();
  std::vector<int64_t> expected = {x.shape().rank() > 0 ? x.shape()[0] : 0};
  const Shape flat{expected[0], sample.elements()};
  expected.insert(expected.end(), sample.begin(), sample.end());
  if (x.shape() != Shape(expected) && x.shape() != flat) {
    throw InvalidArgument("[predict] model '{}' takes samples of shape {}, but x has shape {}.",
                          impl_->network.structure().name, sample.str(), x.shape().str());
  }
  const at::NoGradGuard no_gradient;
  const int64_t count = x.shape()[0];
  std::vector<int64_t> in = {0}, out = {count};
  in.insert(in.end(), sample.begin(), sample.end());
  out.insert(out.end(), output.begin(), output.end());
  Tensor result{Shape(out)};
  for (int64_t begin = 0; begin < count; begin += batch_size) {
    in[0] = std::min(batch_size, count - begin);
    at::Tensor batch = at::empty(in, at::kFloat);
    const auto* source = x.data().data() + begin * sample.elements();
    std::copy(source, source + batch.numel(), batch.data_ptr<float>());
    const at::Tensor y = impl_->network.forward(batch, Pass::kInference, 0, false).contiguous();
    std::copy(y.data_ptr<float>(), y.data_ptr<float>() + y.numel(), result.data().data() + begin * output.elements());
  }
  return result;
}

std::vector<Tensor> Trainer::predict(std::span<const Tensor> inputs, int64_t batch_size) {
  check_batch_size(batch_size);
  const int64_t count = inputs.empty() || inputs[0].shape().rank() == 0 ? 0 : inputs[0].shape()[0];
  for (const Tensor& input : inputs) {
    if (input.shape().rank() > 0 && input.shape()[0] == count) continue;
    throw InvalidArgument("[predict] the inputs hold different numbers of samples: {} and {}.", inputs[0].shape().str(),
                          input.shape().str());
  }
  const at::NoGradGuard no_gradient;
  std::vector<std::vector<at::Tensor>> parts(impl_->network.structure().outputs.size());
  // No samples are one empty batch, which checks the shapes all the same.
  for (int64_t begin = 0; begin == 0 || begin < count; begin += batch_size) {
    std::vector<at::Tensor> batch;
    for (const Tensor& input : inputs) batch.push_back(rows_of(input, begin, std::min(begin + batch_size, count)));
    const auto outputs = impl_->network.forward(batch, Pass::kInference, 0);
    for (size_t i = 0; i < outputs.size(); ++i) parts[i].push_back(outputs[i]);
  }
  std::vector<Tensor> result;
  for (const auto& part : parts) result.push_back(to_tensor(at::cat(part)));
  return result;
}

void Trainer::set_quantization_phase(const QuantizationPhase& phase) { impl_->network.set_quantization_phase(phase); }

void Trainer::calibrate(const data::Samples& samples, int64_t batch_size, int64_t batches) {
  check_batch_size(batch_size);
  impl_->check_data(samples);
  const at::NoGradGuard no_gradient;
  impl_->network.set_calibrating(true);
  for (int64_t b = 0; b < batches && b * batch_size < samples.count(); ++b) {
    std::vector<int64_t> indices;
    for (int64_t i = b * batch_size; i < std::min((b + 1) * batch_size, samples.count()); ++i) indices.push_back(i);
    impl_->network.forward(impl_->inputs(samples, indices), Pass::kInference, 0, true);
  }
  impl_->network.set_calibrating(false);
  impl_->average.forget_trained();
}

void Trainer::set_qnoise(const graph::QNoise& noise) { impl_->network.set_qnoise(noise); }

graph::Model Trainer::model() const { return impl_->network.model(); }

std::vector<std::vector<float>> Trainer::weights() const {
  std::vector<std::vector<float>> result;
  for (const Parameter& parameter : impl_->network.parameters()) {
    const auto values = values_of(parameter.value);
    result.emplace_back(values.begin(), values.end());
  }
  return result;
}

void Trainer::set_weights(const std::vector<std::vector<float>>& weights) {
  const auto& parameters = impl_->network.parameters();
  bool fits = weights.size() == parameters.size();
  for (size_t i = 0; fits && i < weights.size(); ++i) {
    fits = static_cast<int64_t>(weights[i].size()) == parameters[i].value.numel();
  }
  if (!fits) throw InvalidArgument("[set_weights] the weights are not those of model '{}'.", model().name);
  for (size_t i = 0; i < weights.size(); ++i) {
    std::copy(weights[i].begin(), weights[i].end(), parameters[i].value.data_ptr<float>());
  }
  impl_->average.forget_trained();
}

}  // namespace nibble::train
