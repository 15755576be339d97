#include "nibble/transform/ptq/layer_quantizer.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"
#include "nibble/quant/affine/affine_params.h"
#include "nibble/transform/ptq/kernel_layout.h"

namespace nibble::ptq {
namespace {

constexpr int kWidestBias = 32;

// What stands behind one output: a sample of its patches in both networks.
struct SampledInputs {
  Patches real, quantized;
};

SampledInputs sample_inputs(const LayerTask& task, const PostTrainingOptions& o) {
  const auto positions =
      sampled_positions(patch_count(task.layer, *task.inputs.real), o.sampled_positions, o.rounding.seed);
  return {patches_at(task.layer, *task.inputs.real, positions),
          patches_at(task.layer, *task.inputs.quantized, positions)};
}

std::vector<float> step_per_output(std::span<const affine::Range> ranges, int bit_width, int64_t outputs) {
  std::vector<float> steps;
  for (const affine::Range& range : ranges) {
    const affine::NudgedRange nudged = affine::nudge(range, {.bit_width = bit_width, .narrow_range = true});
    steps.push_back(nudged.is_zero ? 1.0f : nudged.scale);
  }
  if (steps.size() == 1) steps.assign(static_cast<size_t>(outputs), steps[0]);
  return steps;
}

std::vector<double> mean_outputs(const Patches& patches, std::span<const float> kernel) {
  const std::vector<float> y = multiply(patches, kernel, {});
  const auto outputs = static_cast<size_t>(patches.matrix.outputs);
  std::vector<double> mean(outputs);
  for (size_t i = 0; i < y.size(); ++i) mean[i % outputs] += static_cast<double>(y[i]);
  for (double& v : mean) v /= static_cast<double>(patches.rows);
  return mean;
}

void round_kernel(const LayerTask& task, const SampledInputs& inputs, std::span<const float> steps,
                  const PostTrainingOptions& o, Tensor& kernel, QuantizedLayer& row) {
  const graph::Weight* bias = task.layer.find_weight("bias");
  const RoundingProblem problem{.kernel = kernel_of(task.deployed).data(),
                                .scale = steps,
                                .bias = bias == nullptr ? std::span<const float>() : std::as_const(bias->value).data(),
                                .bit_width = o.bit_width,
                                .is_rectified = task.is_rectified,
                                .float_inputs = &inputs.real,
                                .quantized_inputs = &inputs.quantized};
  const RoundedKernel rounded = round_adaptively(problem, o.rounding);
  std::copy(rounded.kernel.begin(), rounded.kernel.end(), kernel.data().begin());
  row.rounded_otherwise = rounded.changed;
}

// The bias that gives each output the float network's mean, before the activation.
void correct_bias(const LayerTask& task, const SampledInputs& inputs, graph::Layer& layer, QuantizedLayer& row) {
  const auto wanted = mean_outputs(inputs.real, kernel_of(task.layer).data());
  const auto given = mean_outputs(inputs.quantized, kernel_of(layer).data());
  graph::Weight* bias = layer.find_weight("bias");
  for (size_t c = 0; bias != nullptr && c < wanted.size(); ++c) {
    const double change = wanted[c] - given[c];
    bias->value[static_cast<int64_t>(c)] += static_cast<float>(change);
    row.bias_correction = std::max(row.bias_correction, std::abs(change));
  }
}

// The same from the expected inputs: error of the weights, summed over what each output is made of.
void correct_bias_analytically(const LayerTask& task, graph::Layer& layer, QuantizedLayer& row) {
  graph::Weight* bias = layer.find_weight("bias");
  if (bias == nullptr) return;
  if (task.expected_inputs == nullptr) {
    row.note = "no batch norm tells the mean of its input; the bias is not corrected";
    return;
  }
  const std::vector<double>& means = *task.expected_inputs;
  const KernelMatrix matrix = kernel_matrix(layer, task.inputs.real->shape());  // it looks at the channels only
  const auto real = kernel_of(task.layer).data(), coded = std::as_const(kernel_of(layer)).data();
  const auto per_group = static_cast<int64_t>(means.size()) / matrix.groups;
  for (int64_t o = 0; o < matrix.outputs; ++o) {
    const int64_t first = o / matrix.outputs_per_group() * per_group;
    double change = 0.0;
    for (int64_t k = 0; k < matrix.fan_in; ++k) {
      const auto i = static_cast<size_t>(k * matrix.outputs + o);
      const double error = static_cast<double>(coded[i]) - static_cast<double>(real[i]);
      change -= error * means[static_cast<size_t>(first + k % per_group)];
    }
    bias->value[o] += static_cast<float>(change);
    row.bias_correction = std::max(row.bias_correction, std::abs(change));
  }
}

float own_scale(std::span<const float> bias, int bias_bits) {
  float largest = 0.0f;
  for (const float b : bias) largest = std::max(largest, std::abs(b));
  const auto highest = static_cast<float>(std::ldexp(1.0, bias_bits - 1) - 1.0);
  return largest > 0.0f ? largest / highest : 1.0f;
}

// The bias of `layer` on its grid. True if that is its accumulator's.
bool quantize_bias(const LayerTask& task, std::span<const float> steps, const PostTrainingOptions& o,
                   graph::Layer& layer, QuantizedLayer& row) {
  graph::Weight* bias = layer.find_weight("bias");
  if (bias == nullptr || o.bias_bits == 0) return false;
  const bool has_own_scale = o.bias_scale == BiasScale::kOwn;
  if (!has_own_scale && !task.inputs.scale)
    return false;  // the input is on no grid, so the accumulator has none either
  const float own[] = {own_scale(bias->value.data(), o.bias_bits)};
  const float input_scale = has_own_scale ? 1.0f : *task.inputs.scale;
  const std::span<const float> scales = has_own_scale ? std::span<const float>(own) : steps;
  const affine::BiasCodes codes = affine::quantize_bias(bias->value.data(), input_scale, scales, o.bias_bits);
  if (affine::stays_float(codes, o.bias_bits)) {
    row.note +=
        fmt::format("{}bias needs more than {} bits and stays float", row.note.empty() ? "" : "; ", kWidestBias);
    return false;
  }
  row.saturated_biases = codes.saturated;
  for (size_t c = 0; c < codes.codes.size(); ++c) {
    const double step = static_cast<double>(input_scale) * static_cast<double>(scales[scales.size() == 1 ? 0 : c]);
    bias->value[static_cast<int64_t>(c)] = static_cast<float>(codes.codes[c] * step);
  }
  return !has_own_scale;
}

}  // namespace

double clipped_share(std::span<const float> x, affine::Range range) {
  const auto outside = std::count_if(x.begin(), x.end(), [&](float v) { return v < range.min || v > range.max; });
  return static_cast<double>(outside) / static_cast<double>(std::max<size_t>(1, x.size()));
}

std::optional<float> fake_quantize(const graph::AffineQuantizer& quantizer, affine::Range range, Tensor& x) {
  affine::RangeTracker tracker(graph::tracker_config(quantizer));
  tracker.restore({range});
  tracker.quantize(x.data(), affine::per_tensor(x.shape()), x.data());
  const affine::NudgedRange nudged = tracker.nudged()[0];
  return nudged.is_zero ? std::nullopt : std::optional(nudged.scale);
}

QuantizedWeights quantize_layer_weights(const LayerTask& task, const PostTrainingOptions& o, QuantizedLayer& row) {
  const affine::ChannelLayout layout = scale_layout(task.layer, o.per_axis);
  QuantizedWeights result{.layer = task.deployed,
                          .ranges = weight_ranges(kernel_of(task.layer).data(), layout, o.bit_width, o.weight_rule)};
  const int64_t outputs = output_channels(task.layer);
  const std::vector<float> steps = step_per_output(result.ranges, o.bit_width, outputs);
  const std::span<const float> real = kernel_of(task.deployed).data();
  Tensor& kernel = kernel_of(result.layer);

  std::optional<SampledInputs> inputs;
  const bool has_patches = has_plain_kernel(task.layer);
  const bool corrects_by_samples = has_patches && o.bias_correction == BiasCorrection::kEmpirical;
  const bool rounds_adaptively = has_patches && o.adaptive_rounding;
  if (rounds_adaptively || corrects_by_samples) inputs = sample_inputs(task, o);
  if (rounds_adaptively) {
    round_kernel(task, *inputs, steps, o, kernel, row);
  } else {
    std::vector<affine::NudgedRange> nudged;
    for (const affine::Range& range : result.ranges) {
      nudged.push_back(affine::nudge(range, {.bit_width = o.bit_width, .narrow_range = true}));
    }
    const auto rule = o.per_axis ? affine::StepRule::kMultiply : affine::StepRule::kDivide;
    affine::fake_quant(real, layout, nudged, rule, kernel.data());
  }
  if (corrects_by_samples) correct_bias(task, *inputs, result.layer, row);
  if (has_patches && o.bias_correction == BiasCorrection::kAnalytic) correct_bias_analytically(task, result.layer, row);
  if (!has_patches && (o.adaptive_rounding || o.bias_correction != BiasCorrection::kNone)) {
    row.note = fmt::format("{} is rounded to nearest, its bias not corrected", task.layer.class_name);
  }
  result.has_accumulator_bias = quantize_bias(task, steps, o, result.layer, row);

  row.weight_bits = o.bit_width;
  row.weight_sqnr_db = sqnr_db(real, kernel.data());
  int64_t clipped = 0;
  affine::for_each_element(layout, [&](size_t i, size_t c) { clipped += std::abs(real[i]) > result.ranges[c].max; });
  row.weights_clipped = static_cast<double>(clipped) / static_cast<double>(real.size());
  for (const affine::Range& range : result.ranges) {
    row.weight_range = {std::min(row.weight_range.min, range.min), std::max(row.weight_range.max, range.max)};
  }
  return result;
}

}  // namespace nibble::ptq
