// nibble/quant/affine/range_tracker.h
// Quantizers that watch the range of their tensor, as TFMOT has them (spec/tfmot-tflite.md, A2).
//
//   LastValue      the range of this batch
//   MovingAverage  stored -= (stored - batch) * (1 - decay)
//   AllValues      the union of all batches
//   Fixed          given, never moves
//   None           no quantization at all
//
// The range of a batch contains 0; symmetric ranges are widened so that zero_point is the middle code:
//   r = narrow ? -1 : -(2^b - 2) / 2^b
//   not symmetric  [min(x, 0), max(x, 0)]
//   symmetric      [min(x_min, x_max / r), max(x_max, x_min * r)]
// By RangeRule::kMse it is that range times the factor of least squared error (least_error.h): not TFMOT's, and what
// helps at few bits.
//
// In training the range moves first and the batch is quantized with the moved range. Everywhere else nothing moves.
// Per axis, every one of them keeps a range per channel of the last axis, whatever the rank, and per output
// channel of a depthwise kernel: TFMOT does so for LastValue on 2-D and 4-D tensors only (docs/differences.md).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "nibble/quant/affine/channel_layout.h"
#include "nibble/quant/affine/fake_quant.h"
#include "nibble/quant/affine/least_error.h"

namespace nibble::affine {

enum class TrackerKind { kLastValue, kMovingAverage, kAllValues, kFixed, kNone };

// TFMOT's moving average starts from [-6, 6] and still holds 5 % of it after 3000 batches.
enum class AverageStart { kInitialRange, kFirstBatch };

enum class TrackerCompat {
  kNone,
  // AllValues ignores per_axis, Fixed ignores num_bits (always 8), depthwise kernels use the last axis. For trackers on
  // their own: a model gets quantizers that do so by themselves (qat::as_tfmot).
  kTfmot,
};

// A plain value; what TFMOT's constructor takes, and what its configuration holds.
struct TrackerConfig {
  TrackerKind kind = TrackerKind::kMovingAverage;
  int num_bits = 8;  // 2 .. 16
  bool per_axis = false;
  bool symmetric = false;
  bool narrow_range = false;
  Range fixed{-6.0f, 6.0f};                          // kFixed only
  double decay = 0.999;                              // kMovingAverage only, in [0, 1)
  AverageStart start = AverageStart::kInitialRange;  // kMovingAverage only
  RangeRule range = RangeRule::kExtremes;            // of a batch; not kFixed
  TrackerCompat compat = TrackerCompat::kNone;

  CodeFormat format() const;
  bool operator==(const TrackerConfig&) const = default;
};

// What a tensor is decides how its channels lie.
enum class TensorRole { kActivation, kKernel, kDepthwiseKernel };

// How a tensor's elements share the ranges of a tracker.
//   throws  InvalidArgument for a scalar per axis
ChannelLayout tracker_layout(const TrackerConfig& config, const Shape& shape, TensorRole role);

class RangeTracker {
 public:
  //   channels  ranges to keep: tracker_layout(...).channels
  //   throws    InvalidArgument for a width outside 2 .. 16, a decay outside [0, 1), a fixed range that is empty
  explicit RangeTracker(const TrackerConfig& config, int64_t channels = 1);

  const TrackerConfig& config() const { return config_; }
  int64_t channels() const { return static_cast<int64_t>(ranges_.size()); }

  // One range per channel, as TFMOT's variables <name>_min and <name>_max.
  std::span<const Range> ranges() const { return ranges_; }

  // Ranges read from a model file; they count as calibrated.
  //   throws  InvalidArgument if their number is not channels(), or one is no range
  void restore(std::vector<Range> ranges);

  // False until a batch was observed: the ranges are then TFMOT's [-6, 6] (or [0, 0]), which fit nothing.
  // Fixed and None are calibrated from the start.
  bool is_calibrated() const { return is_calibrated_; }

  // Moves the ranges by one batch.
  //   throws  NonFiniteValue if x holds NaN or infinity; InvalidArgument if it is empty or does not fit the layout
  void observe(std::span<const float> x, const ChannelLayout& layout);

  // Likewise, for a tracker of one range and values whose ends are known.
  //   ends    the smallest and the largest of x, finite
  //   throws  InvalidArgument for several channels, or if x is empty
  void observe(std::span<const float> x, Range ends);

  // Fake quantization with the ranges as they are; None copies.
  void quantize(std::span<const float> x, const ChannelLayout& layout, std::span<float> y) const;

  // Straight-through gradient for the ranges as they are.
  RangeGradient gradient(std::span<const float> x, std::span<const float> upstream, const ChannelLayout& layout,
                         std::span<float> dx) const;

  // The ranges nudged: scales and zero points.
  std::vector<NudgedRange> nudged() const;
  StepRule step_rule() const;

  bool operator==(const RangeTracker&) const = default;

 private:
  void move_by(std::span<const float> x, const ChannelLayout& layout, std::span<const Range> seen);
  void move_to(size_t channel, Range batch);

  TrackerConfig config_;
  std::vector<Range> ranges_;
  bool is_calibrated_ = false;
};

// TFMOT's class name, and back. "LastValueQuantizer", "MovingAverageQuantizer", "AllValuesQuantizer",
// "FixedQuantizer", "NoQuantizer".
std::string_view class_name(TrackerKind kind);
//   throws  InvalidArgument with the nearest name
TrackerKind tracker_kind(std::string_view class_name);

}  // namespace nibble::affine
