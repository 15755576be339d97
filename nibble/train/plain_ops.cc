#include "nibble/train/plain_ops.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <map>

#include "nibble/core/error.h"
#include "nibble/quant/activation_curves.h"
#include "nibble/quant/plain_functions.h"
#include "nibble/train/prologue.h"

namespace nibble::train {
namespace {

at::Tensor to_nchw(const at::Tensor& x) { return x.permute({0, 3, 1, 2}); }
at::Tensor to_nhwc(const at::Tensor& x) { return x.permute({0, 2, 3, 1}).contiguous(); }

// Keras' (h, w, in/groups, out) or depthwise (h, w, in, multiplier) as torch's (out, in/groups, h, w).
at::Tensor torch_kernel(const at::Tensor& kernel, const ConvolutionGeometry& g) {
  return kernel.reshape({g.kernel_height, g.kernel_width, g.in_channels / g.groups, g.out_channels})
      .permute({3, 2, 0, 1});
}

at::Tensor pad(const at::Tensor& nchw, const Window& w, double value) {
  return at::constant_pad_nd(nchw, {w.pad_left, w.pad_right, w.pad_top, w.pad_bottom}, value);
}

at::Tensor max_pool(const at::Tensor& x, const Window& w) {
  const at::Tensor padded = pad(to_nchw(x), w, -std::numeric_limits<double>::infinity());
  return to_nhwc(at::max_pool2d(padded, {w.height, w.width}, {w.stride_height, w.stride_width}));
}

at::Tensor average_pool(const at::Tensor& x, const Window& w) {
  return window_sums(x, w) / cells_inside(w, x.size(1), x.size(2));
}

at::Tensor reduce(const std::vector<at::Tensor>& inputs,
                  const std::function<at::Tensor(const at::Tensor&, const at::Tensor&)>& join) {
  at::Tensor result = inputs.at(0);
  for (size_t i = 1; i < inputs.size(); ++i) result = join(result, inputs[i]);
  return result;
}

std::vector<int64_t> batched(int64_t batch, const Shape& shape) {
  std::vector<int64_t> extents = {batch};
  extents.insert(extents.end(), shape.begin(), shape.end());
  return extents;
}

// A function of one number by its scalar code: its value, and its derivative times x's.
at::Tensor elementwise(const at::Tensor& x, const quant::PlainFunction& function) {
  const at::Tensor in = x.detach().contiguous();
  at::Tensor value = at::empty_like(in), derivative = at::empty_like(in);
  const auto* from = in.data_ptr<float>();
  for (int64_t i = 0; i < in.numel(); ++i) {
    value.data_ptr<float>()[i] = function.value(from[i]);
    derivative.data_ptr<float>()[i] = function.derivative(from[i]);
  }
  return x.requires_grad() ? value + (x - x.detach()) * derivative : value;
}

at::Tensor curve_values(const at::Tensor& x, const quant::ActivationCurve& curve) {
  const at::Tensor in = x.contiguous();
  at::Tensor out = at::empty_like(in);
  const float* from = in.data_ptr<float>();
  float* to = out.data_ptr<float>();
  at::parallel_for(0, in.numel(), 1 << 12, [&](int64_t begin, int64_t end) {
    std::transform(from + begin, from + end, to + begin, curve.value);
  });
  return out;
}

}  // namespace

at::Tensor plain_convolution(const at::Tensor& x, const ConvolutionGeometry& g, const at::Tensor& kernel,
                             const at::Tensor& bias) {
  Window window;
  window.pad_top = g.pad_top, window.pad_bottom = g.pad_bottom;
  window.pad_left = g.pad_left, window.pad_right = g.pad_right;
  const at::Tensor padded = pad(to_nchw(x), window, 0.0);
  const std::vector<int64_t> strides = {g.stride_height, g.stride_width}, no_padding = {0, 0};
  const std::vector<int64_t> dilation = {g.dilation_height, g.dilation_width};
  return to_nhwc(
      at::convolution(padded, torch_kernel(kernel, g), bias, strides, no_padding, dilation, false, {0, 0}, g.groups));
}

at::Tensor window_sums(const at::Tensor& x, const Window& w) {
  return to_nhwc(at::avg_pool2d(pad(to_nchw(x), w, 0.0), {w.height, w.width}, {w.stride_height, w.stride_width}, {0, 0},
                                /*ceil_mode=*/false, /*count_include_pad=*/true, /*divisor_override=*/1));
}

at::Tensor cells_inside(const Window& window, int64_t rows, int64_t columns) {
  return window_sums(at::ones({1, rows, columns, 1}, at::kFloat), window);
}

at::Tensor plain_dropout(const at::Tensor& x, float rate, const RandomKey& key, int64_t first_unit) {
  const at::Tensor ones = at::ones(x.sizes(), at::kFloat);
  at::Tensor mask = at::empty(x.sizes(), at::kFloat);
  const auto channels = static_cast<size_t>(x.size(-1));
  const BoundPrologue dropout(std::vector<float>(channels, 1.0f), std::vector<float>(channels, 0.0f), {}, rate, key,
                              x.numel() / std::max<int64_t>(1, x.size(0)), first_unit);
  dropout.forward(ones.data_ptr<float>(), mask.data_ptr<float>(), nullptr, 0, x.size(0));
  return x * mask;
}

at::Tensor plain_activation(const at::Tensor& x, const Activation& activation, const std::string& layer) {
  // Where no gradient is wanted: the numbers that an integer program has, too.
  if (const auto* curve = quant::activation_curve(activation.function);
      curve != nullptr && !at::GradMode::is_enabled()) {
    return curve_values(x, *curve);
  }
  using Function = std::function<at::Tensor(const at::Tensor&)>;
  static const std::map<std::string, Function> kFunctions = {
      {"linear", [](const at::Tensor& v) { return v; }},
      {"tanh", [](const at::Tensor& v) { return at::tanh(v); }},
      {"sigmoid", [](const at::Tensor& v) { return at::sigmoid(v); }},
      {"softmax", [](const at::Tensor& v) { return at::softmax(v, -1); }},
      {"softplus", [](const at::Tensor& v) { return at::softplus(v); }},
      {"softsign", [](const at::Tensor& v) { return v / (v.abs() + 1); }},
      {"elu", [](const at::Tensor& v) { return at::elu(v); }},
      {"selu", [](const at::Tensor& v) { return at::selu(v); }},
      {"gelu", [](const at::Tensor& v) { return at::gelu(v); }},
      {"swish", [](const at::Tensor& v) { return at::silu(v); }},
      {"silu", [](const at::Tensor& v) { return at::silu(v); }},
      {"exponential", [](const at::Tensor& v) { return at::exp(v); }},
      {"relu6", [](const at::Tensor& v) { return at::clamp(v, 0.0, 6.0); }},
      {"hard_sigmoid", [](const at::Tensor& v) { return at::clamp(v * 0.2 + 0.5, 0.0, 1.0); }},
      {"leaky_relu", [](const at::Tensor& v) { return at::leaky_relu(v, 0.2); }},
      {"mish", [](const at::Tensor& v) { return at::mish(v); }},
      {"log_softmax", [](const at::Tensor& v) { return at::log_softmax(v, -1); }},
  };
  if (activation.function == "relu") {
    // Keras' ReLU layer: slope * (x - threshold) below the threshold.
    at::Tensor y = at::where(x >= activation.threshold, x, (x - activation.threshold) * activation.negative_slope);
    if (activation.threshold == 0.0 && activation.negative_slope == 0.0) y = at::relu(x);
    return activation.max_value ? y.clamp_max(*activation.max_value) : y;
  }
  const auto found = kFunctions.find(activation.function);
  if (found == kFunctions.end()) {
    std::string_view name = activation.function;
    if (name.starts_with("qkeras.")) name.remove_prefix(7);
    if (const auto function = quant::plain_function(name)) return elementwise(x, *function);
    throw Unsupported("[train] layer '{}': activation '{}' cannot be trained.", layer, activation.function);
  }
  return found->second(x);
}

at::Tensor plain_step(const Step& step, const std::vector<at::Tensor>& inputs) {
  const at::Tensor& x = inputs.at(0);
  switch (step.kind) {
    case StepKind::kMaxPool:
      return max_pool(x, step.window);
    case StepKind::kAveragePool:
      return average_pool(x, step.window);
    case StepKind::kGlobalAveragePool:
      return x.mean({1, 2}).reshape(batched(x.size(0), step.shape));
    case StepKind::kReshape:
      return x.reshape(batched(x.size(0), step.shape));
    case StepKind::kPermute:
      return x.permute(step.order).contiguous();
    case StepKind::kPad:
      return to_nhwc(pad(to_nchw(x), step.window, 0.0));
    case StepKind::kAdd:
      return reduce(inputs, [](const auto& a, const auto& b) { return a + b; });
    case StepKind::kSubtract:
      return reduce(inputs, [](const auto& a, const auto& b) { return a - b; });
    case StepKind::kMultiply:
      return reduce(inputs, [](const auto& a, const auto& b) { return a * b; });
    case StepKind::kMaximum:
      return reduce(inputs, [](const auto& a, const auto& b) { return at::maximum(a, b); });
    case StepKind::kMinimum:
      return reduce(inputs, [](const auto& a, const auto& b) { return at::minimum(a, b); });
    case StepKind::kAverage:
      return reduce(inputs, [](const auto& a, const auto& b) { return a + b; }) / static_cast<double>(inputs.size());
    case StepKind::kConcatenate:
      return at::cat(inputs, step.axis);
    default:
      throw Unsupported("[train] step {} has no plain form.", static_cast<int>(step.kind));
  }
}

}  // namespace nibble::train
