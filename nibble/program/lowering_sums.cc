// Layers that sum products: accumulators, their bias and their proof.
#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"
#include "nibble/graph/padding.h"
#include "nibble/program/accumulator_proof.h"
#include "nibble/program/affine_grid.h"
#include "nibble/program/lowering_rules.h"
#include "nibble/transform/batch_norm_folding.h"

namespace nibble::program {

namespace {

// The bias in units of the accumulator, if all of it lies on that grid.
std::vector<int64_t> bias_codes(const std::vector<float>& bias, const PerChannel& scale) {
  std::vector<int64_t> result;
  for (size_t c = 0; c < bias.size(); ++c) {
    const double units = static_cast<double>(bias[c]) / scale[c];
    if (units != std::floor(units) || std::abs(units) > 0x1p30) return {};
    result.push_back(static_cast<int64_t>(units));
  }
  return result;
}

}  // namespace

void Lowering::push_accumulate(const Layer& layer, Accumulate action, const IntegerWeights& weights,
                               const std::vector<float>& bias, int input, bool is_exact) {
  const Value& in = value_of(input);
  Value result{shapes_.at(layer.name), {}, {}};
  bool scales_are_powers = true;
  for (const float scale : weights.scale) {
    result.scale.push_back(scale * in.scale[0]);
    int exponent = 0;
    scales_are_powers = scales_are_powers && std::frexp(result.scale.back(), &exponent) == 0.5f;
  }
  action.weights = weights.values;
  action.weight_bits = weights.bits;
  Signal signal;
  // The network gives sums to the next quantizer where its bias is summed too, as codes.
  if (is_exact && (bias.empty() || !action.bias.empty())) signal.sum_divisor = 1.0;
  if (!bias.empty() && action.bias.empty()) {
    // Beside sums of codes the network adds a float bias to the real number; zeros are no matter.
    const bool adds = std::any_of(bias.begin(), bias.end(), [](float b) { return b != 0.0f; });
    if (!is_exact || !adds) action.bias = bias_codes(bias, result.scale);
    if (action.bias.empty()) signal.pending.push(Offset{bias});
  }
  result.intervals = prove_accumulator(action, in.intervals);
  // Where the network sums codes too, it does so in double.
  constexpr int64_t kExactInDouble = int64_t{1} << 53;
  const bool fits_double = action.partial_sums.low >= -kExactInDouble && action.partial_sums.high <= kExactInDouble;
  action.is_exact_in_float = (is_exact && fits_double) || (action.is_exact_in_float && scales_are_powers);
  if (action.accumulator_bits() > kMostBits) {
    throw Unsupported(
        "[compile] layer '{}' ({}) needs an accumulator of 64 bits or more; {} are there. Use fewer bits for its "
        "weights or for the values that enter it.",
        layer.name, layer.class_name, kMostBits);
  }
  const bool has_points = graph::quantized_point(layer, graph::kPreActivation) ||
                          graph::quantized_point(layer, graph::kPostActivation) ||
                          graph::quantized_point(layer, graph::kOutput);
  const bool is_layer_output = signal.pending.is_identity() && ends_in_integers(layer) && !has_points;
  signal.operation = push({layer.name, {input}, std::move(action), std::move(result), is_layer_output});
  signals_[layer.name] = std::move(signal);
  apply_fused_activation(layer);
}

namespace {

// Geometry of a convolution layer; weights and bias come later.
Accumulate convolution_of(const Layer& layer, const Shape& in, const Shape& out, bool depthwise) {
  Accumulate a;
  const auto& kernel = layer.get_ints("kernel_size");
  const auto& strides = layer.get_ints("strides");
  const auto& dilation = layer.get_ints("dilation_rate");
  a.window = {kernel[0], kernel[1], strides[0], strides[1], dilation[0], dilation[1]};
  const std::string& padding = layer.get_string("padding");
  a.window.pad_top = graph::window(padding, in[0], kernel[0], strides[0], dilation[0]).before;
  a.window.pad_left = graph::window(padding, in[1], kernel[1], strides[1], dilation[1]).before;
  a.in_height = in[0], a.in_width = in[1], a.in_channels = in[2];
  a.out_height = out[0], a.out_width = out[1], a.out_channels = out[2];
  a.groups = depthwise ? in[2] : (layer.has("groups") ? layer.get_int("groups") : 1);
  return a;
}

}  // namespace

namespace {

// A folding layer as the plain one that it is in inference: kernel and bias with the batch norm in them.
Layer with_folded_weights(const Layer& layer) {
  Layer plain = layer;
  transform::FoldedWeights folded = transform::folded_weights(layer);
  const bool depthwise = layer.find_weight("depthwise_kernel") != nullptr;
  plain.find_weight(depthwise ? "depthwise_kernel" : "kernel")->value = std::move(folded.kernel);
  if (plain.find_weight("bias") == nullptr) plain.weights.push_back({"bias", {}});
  plain.find_weight("bias")->value = std::move(folded.bias);
  plain.attributes["use_bias"] = true;
  return plain;
}

// The codes of a point are those of the stored weight.
void refuse_two_quantizers(const Layer& layer, std::string_view weight, std::string_view attribute) {
  if (!graph::quantized_point(layer, weight) || !layer.has(attribute)) return;
  throw Unsupported(
      "[compile] layer '{}' ({}) quantizes its {} twice, by its {} and by the affine point '{}', of which one alone "
      "gives integers. Leave one of them out.",
      layer.name, layer.class_name, weight, attribute, weight);
}

}  // namespace

void Lowering::add_accumulate(const Layer& layer, bool depthwise, bool dense) {
  if (layer.has("mask")) {
    throw Unsupported("[compile] layer '{}' has a mask, which is not known here. Multiply it into the kernel.",
                      layer.name);
  }
  const int input = integers(layer, 0, true);
  const Shape& in = input_shape(layer);
  const Shape& out = shapes_.at(layer.name);
  Accumulate action;
  if (dense) {
    action.in_channels = in[-1], action.out_channels = out[-1];
    action.in_width = action.out_width = in.elements() / in[-1];
  } else {
    action = convolution_of(layer, in, out, depthwise);
  }
  const std::string_view weight = depthwise ? "depthwise_kernel" : "kernel";
  const std::string_view attribute = depthwise ? "depthwise_quantizer" : "kernel_quantizer";
  refuse_two_quantizers(layer, weight, attribute);
  const Layer source = layer.class_name.ends_with("Batchnorm") ? with_folded_weights(layer) : layer;
  const auto point = graph::quantized_point(layer, weight);
  const auto points = graph::quantized_points(layer);
  const bool has_weight_points = std::any_of(points.begin(), points.end(), [](const auto& p) { return p.is_weight; });
  if (has_weight_points && layer.class_name.ends_with("Batchnorm")) {
    throw Unsupported(
        "[compile] layer '{}' ({}) trains with its batch norm merged in each step; compile the plain layer that it "
        "becomes, as 'nibble qat' saves it.",
        layer.name, layer.class_name);
  }
  const IntegerWeights weights = point ? integer_weights(source, *point, action.out_channels)
                                       : integer_weights(source, weight, attribute, action.out_channels);
  const bool is_exact = point && network_sums_codes(*point, input);
  if (is_exact) action.bias = bias_codes(source, value_of(input).scale[0], weights.scale);
  push_accumulate(layer, std::move(action), weights, bias_values(source), input, is_exact);
}

namespace {

// A transposed convolution as a convolution over the input with strides - 1 zeros between its pixels, the kernel turned
// round. Row `oy` of the result is row oy + cut of the whole one, to which tap ky of row iy adds where
// iy * stride + ky * dilation = oy + cut; of the turned kernel that is tap kernel - 1 - ky.
Accumulate transposed_of(const Layer& layer, const Shape& in, const Shape& out) {
  Accumulate a;
  const auto& kernel = layer.get_ints("kernel_size");
  const auto& strides = layer.get_ints("strides");
  const auto& dilation = layer.get_ints("dilation_rate");
  const bool is_same = layer.get_string("padding") == "same";
  const auto pad_of = [&](int axis) {
    const auto i = static_cast<size_t>(axis);
    const int64_t reach = (kernel[i] - 1) * dilation[i], whole = (in[axis] - 1) * strides[i] + reach + 1;
    return reach - (is_same ? std::max<int64_t>(0, whole - out[axis]) / 2 : 0);
  };
  a.window = {kernel[0], kernel[1], 1, 1, dilation[0], dilation[1], pad_of(0), pad_of(1)};
  a.spread_height = strides[0], a.spread_width = strides[1];
  a.in_height = in[0], a.in_width = in[1], a.in_channels = in[2];
  a.out_height = out[0], a.out_width = out[1], a.out_channels = out[2];
  return a;
}

// (h, w, out, in), turned round, as (h, w, in, out).
std::vector<int32_t> turned(const std::vector<int32_t>& weights, const Accumulate& a) {
  const int64_t taps = a.window.height * a.window.width, out = a.out_channels, in = a.in_channels;
  std::vector<int32_t> result(weights.size());
  for (int64_t tap = 0; tap < taps; ++tap) {
    for (int64_t o = 0; o < out; ++o) {
      for (int64_t i = 0; i < in; ++i) {
        const int64_t from = ((taps - 1 - tap) * out + o) * in + i, to = (tap * in + i) * out + o;
        result[static_cast<size_t>(to)] = weights[static_cast<size_t>(from)];
      }
    }
  }
  return result;
}

}  // namespace

void Lowering::add_transposed(const Layer& layer) {
  const int input = integers(layer, 0, true);
  Accumulate action = transposed_of(layer, input_shape(layer), shapes_.at(layer.name));
  const int64_t out = action.out_channels, in = action.in_channels;
  refuse_two_quantizers(layer, "kernel", "kernel_quantizer");
  const auto point = graph::quantized_point(layer, "kernel");
  IntegerWeights weights =
      point ? integer_weights(layer, *point, out, in) : integer_weights(layer, "kernel", "kernel_quantizer", out, in);
  weights.values = turned(weights.values, action);
  const bool is_exact = point && network_sums_codes(*point, input);
  if (is_exact) action.bias = bias_codes(layer, value_of(input).scale[0], weights.scale);
  push_accumulate(layer, std::move(action), weights, bias_values(layer), input, is_exact);
}

bool Lowering::network_sums_codes(const graph::QuantizedPoint& weights, int input) const {
  const bool is_mean = weights.quantizer.kind == graph::AffineKind::kDorefa && weights.quantizer.num_bits == 1;
  return !is_mean && comes_from_affine_point(input);
}

std::string Lowering::affine_source(int input) const {
  const auto operation = [&](int i) -> const Operation& { return program_.operations[static_cast<size_t>(i)]; };
  const auto moves = [&](const Action& a) { return moves_integers(a) || std::holds_alternative<Pad>(a); };
  while (moves(operation(input).action)) input = operation(input).inputs[0];
  const Action& source = operation(input).action;
  if (std::holds_alternative<Extremum>(source) || std::holds_alternative<Concatenate>(source)) {
    // Where the layer's own quantizer has been applied to its inputs.
    return has_output_point_.contains(operation(input).layer) ? affine_source(operation(input).inputs[0]) : "";
  }
  std::string quantizer;
  if (const auto* first = std::get_if<QuantizeInput>(&source)) quantizer = first->quantizer->str();
  if (const auto* compare = std::get_if<Compare>(&source)) quantizer = compare->quantizer;
  return quantizer.starts_with("affine_") ? quantizer : "";
}

}  // namespace nibble::program
