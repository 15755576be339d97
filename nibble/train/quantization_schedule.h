// nibble/train/quantization_schedule.h
// When affine quantization begins in a training, and when it stands still, as a callback.
//
//   begin .. freeze_ranges             ranges follow the batches; from `begin` on values are quantized
//   freeze_ranges ..                   ranges stay (learned ones are trained on)
//   freeze_batch_norm ..               batch normalizations run with their stored statistics
//
// Before `begin` the network trains in float and ranges are watched. Times are epochs of the whole training from 0,
// fractions too: 0.5 is half an epoch. Source: spec/ptq-qat-experiments.md, part 4.
#pragma once

#include <memory>
#include <optional>

#include "nibble/train/trainer.h"

namespace nibble::train {

struct QuantizationSchedule {
  double begin = 0.0;
  std::optional<double> freeze_ranges = {}, freeze_batch_norm = {};
};

// What holds in the step that comes after `epochs` epochs.
QuantizationPhase phase_at(const QuantizationSchedule& schedule, double epochs);

// It needs no state but the step. A training that ends before quantization begins, or before what is to be frozen is,
// is refused.
//   throws  InvalidArgument if a time is negative, or ranges are frozen before quantization begins
std::unique_ptr<Callback> quantization_schedule(const QuantizationSchedule& schedule);

}  // namespace nibble::train
