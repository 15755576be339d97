#include "nibble/train/qnoise_scheduler.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"

namespace nibble::train {
namespace {

using nlohmann::json;

void check(const QNoiseSchedulerOptions& o) {
  if (o.start > o.finish) {
    throw InvalidArgument("[qnoise_scheduler] start {} is after finish {}; the ramp must not end before it begins.",
                          o.start, o.finish);
  }
  if (o.start < 0 || o.initial_step_or_epoch < 0) {
    throw InvalidArgument("[qnoise_scheduler] start {} and initial_step_or_epoch {} must be at least 0.", o.start,
                          o.initial_step_or_epoch);
  }
  if (o.update_freq < 1) {
    throw InvalidArgument("[qnoise_scheduler] update_freq is {}; it must be at least 1.", o.update_freq);
  }
  if (!(o.exponent > 0) || !std::isfinite(o.exponent)) {
    throw InvalidArgument("[qnoise_scheduler] exponent is {}; it must be above 0.", o.exponent);
  }
}

class QNoiseScheduler : public Callback {
 public:
  explicit QNoiseScheduler(const QNoiseSchedulerOptions& options) : options_(options) {}

  void on_train_begin(int, int64_t steps_per_epoch) override { steps_per_epoch_ = steps_per_epoch; }

  void on_batch_begin(int epoch, int64_t step, Trainer& trainer) override {
    const bool counts_steps = options_.freq_type == QNoiseFrequency::kStep;
    const int64_t done = counts_steps ? (epoch - 1) * steps_per_epoch_ + step - 1 : epoch - 1;
    trainer.set_qnoise({qnoise_factor(options_, options_.initial_step_or_epoch + done), options_.use_ste});
  }

  std::string name() const override { return "qnoise_scheduler"; }

  json state() const override {
    return {options_.start,
            options_.finish,
            options_.freq_type == QNoiseFrequency::kStep ? "step" : "epoch",
            options_.update_freq,
            options_.initial_step_or_epoch,
            options_.exponent,
            options_.use_ste};
  }
  void restore(const json& given) override {
    if (given == state()) return;
    throw InvalidArgument(
        "[qnoise_scheduler] the checkpoint was made with the ramp {}, but this one is {} (start, finish, freq_type, "
        "update_freq, initial_step_or_epoch, exponent, use_ste). Give the same options, or start anew.",
        given.dump(), state().dump());
  }

 private:
  QNoiseSchedulerOptions options_;
  int64_t steps_per_epoch_ = 0;
};

}  // namespace

double qnoise_factor(const QNoiseSchedulerOptions& options, int64_t t) {
  check(options);
  const int64_t last = t - t % options.update_freq;
  if (last < options.start) return 0.0;
  if (last > options.finish || options.start == options.finish) return 1.0;
  const double left = static_cast<double>(options.finish - last) / static_cast<double>(options.finish - options.start);
  return 1.0 - std::pow(left, options.exponent);
}

std::unique_ptr<Callback> qnoise_scheduler(const QNoiseSchedulerOptions& options) {
  check(options);
  return std::make_unique<QNoiseScheduler>(options);
}

}  // namespace nibble::train
