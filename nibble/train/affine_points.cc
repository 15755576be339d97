#include "nibble/train/affine_points.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include "nibble/core/error.h"
#include "nibble/core/thinning.h"
#include "nibble/graph/layer_schema.h"
#include "nibble/graph/quantization_variables.h"
#include "nibble/kernels/affine_quantizers.h"
#include "nibble/quant/affine/calibration.h"
#include "nibble/train/affine_ops.h"

namespace nibble::train {
namespace {

using graph::AffineKind;
using graph::AffineQuantizer;
using graph::QuantizedPoint;

// Of larger tensors, starts of learned parameters are found on so many values, up to twice as many.
constexpr int64_t kStartSamples = 65536;
constexpr double kPactPercentile = 99.9;
constexpr float kSmallestStep = 1e-8f;

std::span<const float> values_of(const at::Tensor& t) { return {t.data_ptr<float>(), static_cast<size_t>(t.numel())}; }

at::Tensor variable(LayerRuntime& runtime, const QuantizedPoint& point, const char* suffix) {
  return runtime.find(point.name + "_" + suffix)->value;
}

std::vector<affine::Range> stored_ranges(const QuantizedPoint& point, LayerRuntime& runtime) {
  if (point.quantizer.kind == AffineKind::kFixed) return {point.quantizer.fixed};
  const at::Tensor min = variable(runtime, point, "min"), max = variable(runtime, point, "max");
  std::vector<affine::Range> ranges;
  for (int64_t c = 0; c < min.numel(); ++c) ranges.push_back({min.data_ptr<float>()[c], max.data_ptr<float>()[c]});
  return ranges;
}

void store(std::span<const affine::Range> ranges, const QuantizedPoint& point, LayerRuntime& runtime) {
  at::Tensor min = variable(runtime, point, "min"), max = variable(runtime, point, "max");
  for (size_t c = 0; c < ranges.size(); ++c) {
    const affine::Range seen = graph::as_seen(point.quantizer.kind, ranges[c]);
    min.data_ptr<float>()[c] = seen.min;
    max.data_ptr<float>()[c] = seen.max;
  }
}

affine::RangeTracker tracker_of(const QuantizedPoint& point, LayerRuntime& runtime) {
  const std::vector<affine::Range> ranges = stored_ranges(point, runtime);
  affine::RangeTracker tracker(graph::tracker_config(point.quantizer), static_cast<int64_t>(ranges.size()));
  // One that stands at its start has seen nothing: an average then may begin with the first batch.
  if (!std::equal(ranges.begin(), ranges.end(), tracker.ranges().begin())) tracker.restore(ranges);
  return tracker;
}

// The two ends of a whole tensor are what the kernel finds faster.
void observe(affine::RangeTracker& tracker, const at::Tensor& x, const affine::ChannelLayout& layout) {
  if (layout.channels > 1) return tracker.observe(values_of(x), layout);
  const kernels::Extremes ends = kernels::extremes(x.data_ptr<float>(), static_cast<size_t>(x.numel()));
  if (!ends.is_finite) return tracker.observe(values_of(x), layout);  // names the element
  tracker.observe(values_of(x), affine::Range{ends.min, ends.max});
}

at::Tensor tracked(const QuantizedPoint& point, LayerRuntime& runtime, const at::Tensor& x,
                   const affine::ChannelLayout& layout, PointMode mode) {
  QuantizedPoint watched = point;
  if (mode.observes_once) watched.quantizer.average_start = affine::AverageStart::kFirstBatch;
  affine::RangeTracker tracker = tracker_of(watched, runtime);
  if (mode.observes && point.quantizer.kind != AffineKind::kFixed) {
    observe(tracker, x.detach().contiguous(), layout);
    store(tracker.ranges(), point, runtime);
  }
  return mode.applies ? affine_fake_quant(x, layout, tracker.nudged(), tracker.step_rule()) : x;
}

affine::StepLimits limits_of(const AffineQuantizer& q) {
  return affine::step_limits(q.num_bits, q.symmetric, q.narrow_range);
}

// The values of each channel, thinned where there are many.
std::vector<std::vector<float>> samples(const at::Tensor& x, const affine::ChannelLayout& layout) {
  std::vector<std::vector<float>> channels(static_cast<size_t>(layout.channels));
  const float* values = x.data_ptr<float>();
  const bool is_thinned = layout.channels == 1 && x.numel() > kStartSamples;
  const uint64_t part = is_thinned ? std::bit_floor(static_cast<uint64_t>(x.numel() / kStartSamples)) : 1;
  for (int64_t i = 0; i < x.numel(); ++i) {
    if (is_sampled(static_cast<uint64_t>(i), part))
      channels[static_cast<size_t>(layout.channel(i))].push_back(values[i]);
  }
  return channels;
}

struct StepAndOffset {
  float step = 1.0f, offset = 0.0f;
};

// Where the range with the least squared error ends. The paper's start, 2 mean|x| / sqrt(qp), knows nothing of the
// shape of the values: behind a ReLU, where half of them are 0, it clips what matters, and a short fine-tuning does not
// find back (4 bits, digits, 3 epochs: 96.8 - 97.5 % with it, in float 97.7 %).
float least_error_step(std::span<const float> x, affine::StepLimits limits) {
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  const auto qn = static_cast<float>(limits.qn), qp = static_cast<float>(limits.qp);
  const float widest = std::max(limits.qn > 0 ? -*low / qn : 0.0f, *high / qp);
  // Of zeros alone nothing follows; with the smallest step the first value that is none would be clipped to it for
  // good.
  if (widest <= kSmallestStep) return 1.0f / qp;
  float best = widest;
  double least = std::numeric_limits<double>::infinity();
  for (int percent = 100; percent >= 20; --percent) {
    const float step = widest * static_cast<float>(percent) / 100.0f;
    double error = 0.0;
    for (const float v : x) {
      const auto miss = static_cast<double>(std::nearbyint(std::clamp(v / step, -qn, qp)) * step - v);
      error += miss * miss;
    }
    if (error < least) least = error, best = step;
  }
  return best;
}

StepAndOffset first_step(const QuantizedPoint& point, std::span<const float> x) {
  const AffineQuantizer& q = point.quantizer;
  const affine::StepLimits limits = limits_of(q);
  if (q.kind == AffineKind::kLsq) return {least_error_step(x, limits), 0.0f};
  if (point.is_weight) return {affine::initial_step_of_weights(x, q.num_bits), 0.0f};
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  const affine::Range range = affine::mse_range(x, {std::min(*low, 0.0f), std::max(*high, 0.0f)}, q.num_bits);
  const float width = range.max > range.min ? range.max - range.min : 1.0f;
  const float step = std::max(width / static_cast<float>(limits.qn + limits.qp), kSmallestStep);
  return {step, range.min + static_cast<float>(limits.qn) * step};
}

bool is_found(const at::Tensor& parameter) {
  const auto values = values_of(parameter);
  return std::any_of(values.begin(), values.end(), [](float v) { return v != 0.0f; });
}

void find_start(const QuantizedPoint& point, LayerRuntime& runtime, const at::Tensor& x,
                const affine::ChannelLayout& layout) {
  const auto channels = samples(x, layout);
  if (point.quantizer.kind == AffineKind::kPact) {
    const float reach = affine::percentile_range(channels[0], kPactPercentile).max;
    variable(runtime, point, "alpha").fill_(reach > 0.0f ? reach : 1.0f);
    return;
  }
  at::Tensor step = variable(runtime, point, "step");
  const LayerWeight* offset = runtime.find(point.name + "_offset");
  for (size_t c = 0; c < channels.size(); ++c) {
    const StepAndOffset start = first_step(point, channels[c]);
    step.data_ptr<float>()[c] = start.step;
    if (offset != nullptr) offset->value.data_ptr<float>()[c] = start.offset;
  }
}

at::Tensor learned(const graph::Layer& layer, const QuantizedPoint& point, LayerRuntime& runtime, const at::Tensor& x,
                   const affine::ChannelLayout& layout, PointMode mode) {
  if (!mode.applies) return x;
  const AffineQuantizer& q = point.quantizer;
  at::Tensor parameter = variable(runtime, point, q.kind == AffineKind::kPact ? "alpha" : "step");
  {
    const at::NoGradGuard no_gradient;
    if (!is_found(parameter)) {
      if (!mode.observes) {
        throw InvalidArgument(
            "[train] {}: the {} of '{}' was not found yet. Train or calibrate the quantized model before it is used.",
            graph::described(layer), q.kind == AffineKind::kPact ? "clipping level" : "step", point.name);
      }
      find_start(point, runtime, x.detach().contiguous(), layout);
    }
    parameter.clamp_min_(kSmallestStep);  // an optimizer knows no bounds
  }
  if (q.kind == AffineKind::kPact) return pact_quant(x, parameter, q.num_bits);
  const LayerWeight* offset = runtime.find(point.name + "_offset");
  const affine::StepLimits limits = limits_of(q);
  const int64_t counted = affine::gradient_elements(q.gradient_elements, layout, point.is_weight ? 1 : x.size(0));
  return learned_step_quant(x, layout, parameter, offset == nullptr ? at::Tensor() : offset->value,
                            {limits, affine::learned_step_gradient_scale(counted, limits.qp)});
}

}  // namespace

bool stands_at_start(const QuantizedPoint& point, LayerRuntime& runtime) {
  const AffineKind kind = point.quantizer.kind;
  if (graph::is_learned(kind)) return !is_found(variable(runtime, point, kind == AffineKind::kPact ? "alpha" : "step"));
  if (!graph::has_minmax(kind)) return false;
  const affine::Range start = graph::initial_range(kind);
  const auto ranges = stored_ranges(point, runtime);
  // -0 is the mark of graph::as_seen().
  return std::all_of(ranges.begin(), ranges.end(), [&](affine::Range range) {
    return range == start && std::signbit(range.min) == std::signbit(start.min);
  });
}

at::Tensor quantize_point(const graph::Layer& layer, const QuantizedPoint& point, LayerRuntime& runtime,
                          const at::Tensor& x, PointMode mode) {
  const AffineQuantizer& q = point.quantizer;
  if (x.numel() == 0) return x;
  const affine::ChannelLayout layout = graph::point_layout(layer, point, Shape(x.sizes().vec()));
  if (graph::is_learned(q.kind)) return learned(layer, point, runtime, x, layout, mode);
  if (q.kind == AffineKind::kDorefa) {
    if (!mode.applies) return x;
    if (point.is_weight) return dorefa_quant_weights(x, q.num_bits);
    return dorefa_quant_activations(x, q.num_bits, {q.gradient_bits, mode.random});
  }
  try {
    return tracked(point, runtime, x, layout, mode);
  } catch (const affine::NonFiniteValue& error) {
    throw affine::NonFiniteValue("[train] {}, '{}': {}", graph::described(layer), point.name, error.what());
  } catch (const InvalidArgument& error) {
    throw InvalidArgument("[train] {}, '{}': {}", graph::described(layer), point.name, error.what());
  }
}

std::vector<float> point_steps(const QuantizedPoint& point, LayerRuntime& runtime) {
  const AffineQuantizer& q = point.quantizer;
  const auto levels = static_cast<float>((int32_t{1} << q.num_bits) - 1);
  std::vector<float> steps;
  if (graph::is_tracker(q.kind)) {
    for (const affine::NudgedRange& range : tracker_of(point, runtime).nudged()) {
      // A channel of zeros has no step; any will do for a bias.
      steps.push_back(range.is_zero ? 1.0f : range.scale);
    }
  } else if (q.kind == AffineKind::kPact) {
    steps.push_back(variable(runtime, point, "alpha").data_ptr<float>()[0] / levels);
  } else if (q.kind == AffineKind::kDorefa) {
    if (!point.is_weight || q.num_bits > 1) steps.push_back(1.0f / levels);
  } else {
    const at::Tensor step = variable(runtime, point, "step");
    // Values that are offset are no multiples of the step.
    const LayerWeight* offset = runtime.find(point.name + "_offset");
    if (offset != nullptr && is_found(offset->value)) return {};
    steps.assign(step.data_ptr<float>(), step.data_ptr<float>() + step.numel());
  }
  const bool is_grid = std::all_of(steps.begin(), steps.end(), [](float step) { return step > 0.0f; });
  return is_grid ? steps : std::vector<float>{};
}

std::optional<affine::CodeGrid> code_grid(const QuantizedPoint& point, LayerRuntime& runtime) {
  const AffineQuantizer& q = point.quantizer;
  if (graph::is_tracker(q.kind)) {
    const std::vector<affine::NudgedRange> ranges = tracker_of(point, runtime).nudged();
    if (ranges.size() != 1) return std::nullopt;
    if (ranges[0].is_zero) return affine::CodeGrid{};
    const affine::CodeFormat format = graph::tracker_config(q).format();
    return affine::CodeGrid{ranges[0].scale, format.qmin() - ranges[0].zero_point,
                            format.qmax() - ranges[0].zero_point};
  }
  const std::vector<float> steps = point_steps(point, runtime);
  if (steps.size() != 1) return std::nullopt;
  if (q.kind == AffineKind::kLsq || q.kind == AffineKind::kLsqPlus) {
    const affine::StepLimits limits = limits_of(q);
    return affine::CodeGrid{steps[0], -limits.qn, limits.qp};
  }
  return affine::CodeGrid{steps[0], 0, (int32_t{1} << q.num_bits) - 1};
}

BiasGrid bias_codes(const at::Tensor& bias, float input_step, std::span<const float> weight_steps, int bit_width) {
  const at::Tensor values = bias.detach().contiguous();
  const affine::BiasCodes codes = affine::quantize_bias(values_of(values), input_step, weight_steps, bit_width);
  if (affine::stays_float(codes, bit_width)) return {};
  return {{codes.codes.begin(), codes.codes.end()}, codes.saturated};
}

at::Tensor bias_on_grid(const at::Tensor& bias, float input_step, std::span<const float> weight_steps, int bit_width) {
  const at::Tensor values = bias.detach().contiguous();
  const affine::BiasCodes codes = affine::quantize_bias(values_of(values), input_step, weight_steps, bit_width);
  if (affine::stays_float(codes, bit_width)) return bias;
  at::Tensor rounded = at::empty_like(values);
  for (size_t c = 0; c < codes.codes.size(); ++c) {
    const float step = weight_steps[weight_steps.size() == 1 ? 0 : c];
    rounded.data_ptr<float>()[c] = static_cast<float>(static_cast<double>(codes.codes[c]) *
                                                      (static_cast<double>(input_step) * static_cast<double>(step)));
  }
  return straight_through(bias, rounded);
}

}  // namespace nibble::train
