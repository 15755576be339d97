// QAdaptiveActivation: a quantizer whose integer bits follow the range of what it sees.
// Source: spec/qkeras.md section 4.
#include <ATen/ATen.h>

#include "nibble/quant/integer_bits.h"
#include "nibble/quant/quantized_bits.h"
#include "nibble/quant/quantized_relu.h"
#include "nibble/train/layers/families.h"

namespace nibble::train::layers {
namespace {

bool is_relu(const graph::Layer& layer) { return layer.get_string("activation") == "quantized_relu"; }

// noise 0 leaves the activation but for the quantization.
quant::QuantizerPtr quantizer_of(const graph::Layer& layer, int integer, double noise) {
  const auto bits = static_cast<int>(layer.get_int("total_bits"));
  if (!is_relu(layer)) {
    return std::make_shared<quant::QuantizedBits>(quant::QuantizedBitsParams{.bits = bits,
                                                                             .integer = integer,
                                                                             .symmetric = layer.get_bool("symmetric"),
                                                                             .alpha = quant::Alpha(1.0),
                                                                             .qnoise_factor = noise});
  }
  quant::QuantizedReluParams params;
  params.bits = bits, params.integer = integer;
  params.negative_slope = layer.get_float("relu_neg_slope");
  if (layer.has("relu_upper_bound")) params.relu_upper_bound = quant::Number(layer.get_float("relu_upper_bound"));
  params.is_quantized_clip = false;
  params.qnoise_factor = noise;
  return std::make_shared<quant::QuantizedRelu>(params);
}

// The integer bits that the observed ranges ask for; one a channel.
std::vector<int> integer_bits(LayerContext& context) {
  const graph::Layer& layer = context.layer();
  const at::Tensor low = context.stored("ema_min"), high = context.stored("ema_max");
  const bool keeps_negative = !is_relu(layer) || layer.get_float("relu_neg_slope") != 0.0;
  const quant::IntegerBitsOptions options{static_cast<int>(layer.get_int("total_bits")), layer.get_bool("symmetric"),
                                          keeps_negative, layer.get_bool("po2_rounding")};
  std::vector<int> bits;
  for (int64_t c = 0; c < low.numel(); ++c) {
    bits.push_back(quant::estimate_integer_bits(low.data_ptr<float>()[c], high.data_ptr<float>()[c], options));
  }
  return bits;
}

at::Tensor quantized(LayerContext& context, const at::Tensor& x, const std::vector<int>& integers, double noise) {
  if (integers.size() == 1) return context.quantize(x, quantizer_of(context.layer(), integers[0], noise));
  std::vector<at::Tensor> channels;
  for (size_t c = 0; c < integers.size(); ++c) {
    const auto quantizer = quantizer_of(context.layer(), integers[c], noise);
    channels.push_back(context.quantize(x.select(-1, static_cast<int64_t>(c)), quantizer, static_cast<uint32_t>(c)));
  }
  return at::stack(channels, -1);
}

// Counts the call and gives its number.
int64_t next_step(LayerContext& context) {
  const at::Tensor step = context.stored("step");
  if (context.updates_state()) step.add_(1.0f);
  return static_cast<int64_t>(step.item<float>());
}

void follow_range(LayerContext& context, const at::Tensor& unquantized) {
  const double rate = 1.0 - context.layer().get_float("ema_decay");
  const at::Tensor low = context.stored("ema_min"), high = context.stored("ema_max");
  const at::Tensor flat = unquantized.detach().reshape({-1, low.numel() == 1 ? 1 : unquantized.size(-1)});
  low.sub_((low - flat.amin({0})) * rate);
  high.sub_((high - flat.amax({0})) * rate);
}

at::Tensor adaptive(LayerContext& context, std::span<const at::Tensor> inputs) {
  const graph::Layer& layer = context.layer();
  at::AutoGradMode gradient(false);
  const int64_t step = next_step(context);
  const std::vector<int> before = integer_bits(context);
  const bool quantizes = !context.is_training() || step >= layer.get_int("quantization_delay");
  at::Tensor y;
  {
    at::AutoGradMode with_gradient(context.is_training());
    y = quantized(context, inputs[0], before, quantizes ? 1.0 : 0.0);
  }
  const int64_t freeze = layer.has("ema_freeze_delay") ? layer.get_int("ema_freeze_delay") : 0;
  // The reference moves the range in inference too while step <= freeze; here only training does.
  if (context.updates_state() && (freeze == 0 || step <= freeze)) {
    follow_range(context, quantized(context, inputs[0], before, 0.0));
  }
  return y;
}

}  // namespace

std::vector<LayerOpRow> adaptive_ops() { return {{"QAdaptiveActivation", adaptive}}; }

}  // namespace nibble::train::layers
