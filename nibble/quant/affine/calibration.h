// nibble/quant/affine/calibration.h
// Ranges for post-training quantization, chosen from what a tensor holds on real data.
// Source: spec/ptq-qat-experiments.md, 5.8.
//
//   min-max         union of all batches
//   moving average  of the batches' ends; the first batch initializes
//   percentile      cuts the same share off both tails; linear interpolation between order statistics
//   MSE             both ends times k, the k in 1.00, 0.99 .. 0.20 with the least sum of (x - Q(x))^2
//   entropy         the threshold of |x| whose clipped 2048-bin histogram keeps the most information (KL divergence
//                   to its version in 2^(b-1) levels), as TensorRT does; 2^b levels where x is never negative. The
//                   first bin counts no more than the second: any range codes the zeros that a ReLU leaves
//
// All ranges contain 0.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "nibble/quant/affine/channel_layout.h"
#include "nibble/quant/affine/fake_quant.h"

namespace nibble::affine {

enum class CalibrationMethod { kMinMax, kMovingAverage, kPercentile, kMse, kEntropy };

// "min-max", "moving-average", "percentile", "mse", "entropy".
//   throws  InvalidArgument with the nearest name
CalibrationMethod calibration_method(std::string_view name);

struct CalibrationOptions {
  CalibrationMethod method = CalibrationMethod::kMse;
  int bit_width = 8;          // 2 .. 16; MSE and entropy look at it
  bool symmetric = false;     // [-m, m]
  double decay = 0.99;        // moving average, in [0, 1)
  double percentile = 99.99;  // (50, 100]
  // MSE, percentile and entropy keep samples. Beyond this many, half of them are dropped, again and again, so that
  // memory is bounded: without a pattern (core/thinning.h), always the same ones. The ends are always exact.
  int64_t sample_limit = 1'000'000;
};

// Watches one tensor, batch by batch.
class Calibrator {
 public:
  //   throws  InvalidArgument for options out of range
  explicit Calibrator(const CalibrationOptions& options);

  //   throws  InvalidArgument if x is empty or holds NaN or infinity
  void observe(std::span<const float> x);

  // The range of everything observed; [0, 0] where every value was 0. Where a rule leaves nothing but 0 of values that
  // are not, it is what was seen.
  //   throws  InvalidArgument if nothing was observed
  Range range() const;

  // The ends that were seen, 0 included: for reports on clipping.
  Range seen() const { return {lowest_, highest_}; }

 private:
  void keep(float v);
  void drop_half();

  CalibrationOptions options_;
  float lowest_ = 0.0f, highest_ = 0.0f;
  Range average_;
  bool is_started_ = false;
  std::vector<float> samples_;
  uint64_t part_ = 1, position_ = 0;  // one position in part_ is kept
};

// Watches the channels of one tensor, each with a calibrator of its own.
class ChannelCalibrator {
 public:
  //   throws  as Calibrator; also unless channels >= 1
  ChannelCalibrator(const CalibrationOptions& options, int64_t channels);

  //   throws  as Calibrator, naming the channel; also if x does not fit the layout, or the layout the channels
  void observe(std::span<const float> x, const ChannelLayout& layout);

  std::vector<Range> ranges() const;

 private:
  std::vector<Calibrator> channels_;
};

// The rules themselves, on values that are all there. x is not empty and finite.
Range percentile_range(std::span<const float> x, double percentile);
Range mse_range(std::span<const float> x, Range widest, int bit_width);
float entropy_threshold(std::span<const float> x, int bit_width);

}  // namespace nibble::affine
