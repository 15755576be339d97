// Layers with a batch normalization folded into their kernel: QConv2DBatchnorm, QDepthwiseConv2DBatchnorm,
// QDenseBatchnorm. Source: spec/qkeras.md section 4.
//
// One call:
//   c = layer(x, kernel) + bias, unquantized, gives the batch's moments and moves the stored ones
//   K' = kernel * gamma / sqrt(v + epsilon),  b' = gamma * (bias - mean) / sqrt(var + epsilon) + beta
//   y = layer(x, Qk(K')) [* sqrt(moving + epsilon) / sqrt(var + epsilon)] + Qb(b')
// batch_stats_folding takes v from the batch while the statistics move; ema_stats_folding always takes the moving
// variance, and puts the batch's in its place by the factor in brackets.
#include <ATen/ATen.h>

#include "nibble/train/layers/convolve.h"
#include "nibble/train/layers/families.h"

namespace nibble::train::layers {
namespace {

// The layer without bias, on any kernel of its shape.
using Linear = at::Tensor (*)(const graph::Layer& layer, const at::Tensor& x, const at::Tensor& kernel);

ConvolutionWindow window_of(const graph::Layer& layer) {
  return {layer.get_ints("kernel_size"), layer.get_ints("strides"), layer.get_ints("dilation_rate"),
          layer.get_string("padding")};
}

at::Tensor convolution(const graph::Layer& layer, const at::Tensor& x, const at::Tensor& kernel) {
  return convolve(x, kernel, {}, window_of(layer), layer.get_int("groups"));
}

at::Tensor depthwise(const graph::Layer& layer, const at::Tensor& x, const at::Tensor& kernel) {
  return convolve_depthwise(x, kernel, {}, window_of(layer));
}

at::Tensor dense(const graph::Layer&, const at::Tensor& x, const at::Tensor& kernel) { return at::matmul(x, kernel); }

struct Moments {
  at::Tensor mean, variance;  // [C] float
};

Moments as_float(const BatchStatistics& statistics) {
  return {statistics.mean.to(at::kFloat), statistics.variance.to(at::kFloat)};
}

Moments moving(LayerContext& context) {
  return {context.stored("moving_mean").clone(), context.stored("moving_variance").clone()};
}

// True while the statistics follow the batches. Counts the call.
bool statistics_move(LayerContext& context) {
  if (!context.statistics_move()) return false;
  if (context.pass() == Pass::kReestimation) return true;
  if (!context.updates_state()) return false;
  const at::NoGradGuard no_gradient;
  const at::Tensor iteration = context.stored("iteration");
  const graph::Layer& layer = context.layer();
  const int64_t delay = layer.has("ema_freeze_delay") ? layer.get_int("ema_freeze_delay") : -1;
  const bool moves = delay < 0 || iteration.item<float>() <= static_cast<float>(delay);
  iteration.add_(1.0f);
  return moves;
}

// gamma / sqrt(variance + epsilon)
at::Tensor factor(LayerContext& context, const at::Tensor& variance) {
  const at::Tensor inverse = at::rsqrt(variance + context.layer().get_float("epsilon"));
  const at::Tensor gamma = context.weight("gamma");
  return gamma.defined() ? gamma * inverse : inverse;
}

at::Tensor folded(LayerContext& context, const at::Tensor& x, const char* kernel_name, const char* quantizer,
                  Linear linear) {
  const graph::Layer& layer = context.layer();
  const at::Tensor kernel = context.stored(kernel_name), bias = context.stored("bias"), beta = context.weight("beta");
  at::Tensor plain = linear(layer, x, kernel);
  if (bias.defined()) plain = plain + bias;

  const bool moves = statistics_move(context);
  const Moments batch = moves ? as_float(context.batch_statistics(plain)) : Moments{};
  const Moments stored = moving(context);
  const Moments& used = moves ? batch : stored;
  const bool folds_batch =
      layer.get_string("folding_mode") == "batch_stats_folding" || context.pass() == Pass::kReestimation;

  at::Tensor folded_bias = -used.mean;
  if (bias.defined()) folded_bias = folded_bias + bias;
  folded_bias = factor(context, used.variance) * folded_bias;
  if (beta.defined()) folded_bias = folded_bias + beta;
  const at::Tensor inverse = factor(context, folds_batch ? used.variance : stored.variance);
  const at::Tensor folded_kernel = (kernel.reshape({-1, inverse.size(0)}) * inverse).reshape(kernel.sizes());

  // Affine quantization of the kernel is that of the folded one too.
  at::Tensor y = linear(layer, x, context.quantize_point(context.quantize(folded_kernel, quantizer), kernel_name));
  if (moves && !folds_batch) {
    const double epsilon = layer.get_float("epsilon");
    y = y * (at::sqrt(stored.variance + epsilon) * at::rsqrt(batch.variance + epsilon));
  }
  return context.activate(y + context.quantize(folded_bias, "bias_quantizer", /*draw=*/1));
}

at::Tensor folded_convolution(LayerContext& context, std::span<const at::Tensor> inputs) {
  return folded(context, inputs[0], "kernel", "kernel_quantizer", convolution);
}

at::Tensor folded_depthwise(LayerContext& context, std::span<const at::Tensor> inputs) {
  return folded(context, inputs[0], "depthwise_kernel", "depthwise_quantizer", depthwise);
}

at::Tensor folded_dense(LayerContext& context, std::span<const at::Tensor> inputs) {
  return folded(context, inputs[0], "kernel", "kernel_quantizer", dense);
}

}  // namespace

std::vector<LayerOpRow> folded_ops() {
  return {{"QConv2DBatchnorm", folded_convolution},
          {"QDepthwiseConv2DBatchnorm", folded_depthwise},
          {"QDenseBatchnorm", folded_dense}};
}

}  // namespace nibble::train::layers
