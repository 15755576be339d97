// nibble/train/qnoise_scheduler.h
// Quantization that comes in gradually: QKeras' QNoiseScheduler, as a callback [arXiv 1903.01061].
//
//   factor(t) = 0                                                 t < start
//               1 - ((finish - t) / (finish - start))^exponent    start <= t <= finish
//               1                                                 t > finish, or start = finish <= t
//
// t counts steps or epochs of the whole training, from `initial`. All quantizers that have a qnoise_factor take it,
// those of weights and of activations; the others (binary, ternary, ...) are whole from the start.
#pragma once

#include <memory>

#include "nibble/train/trainer.h"

namespace nibble::train {

enum class QNoiseFrequency { kEpoch, kStep };

struct QNoiseSchedulerOptions {
  int64_t start = 0, finish = 0;  // in units of freq_type; start <= finish
  QNoiseFrequency freq_type = QNoiseFrequency::kEpoch;
  int64_t update_freq = 1;            // the factor changes where t is a multiple of it
  int64_t initial_step_or_epoch = 0;  // t of the first step or epoch
  double exponent = 3.0;              // above 1: most of the quantization comes early
  bool use_ste = true;                // false: gradients shrink with 1 - factor, to 0 at factor 1
};

// Of the step or epoch t: the formula's of the last multiple of update_freq up to t.
//   throws  InvalidArgument if start > finish, a count is negative, update_freq < 1 or exponent is not above 0
double qnoise_factor(const QNoiseSchedulerOptions& options, int64_t t);

// It needs no state but the step, so that a training that is resumed goes on with the ramp where it stood; resuming
// with other options is refused.
std::unique_ptr<Callback> qnoise_scheduler(const QNoiseSchedulerOptions& options);

}  // namespace nibble::train
