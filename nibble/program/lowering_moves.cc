// Pools, merges, and layers that only move integers.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/graph/padding.h"
#include "nibble/program/affine_grid.h"
#include "nibble/program/lowering_rules.h"
#include "nibble/program/window_cells.h"

namespace nibble::program {

namespace {

// Its value is what the layer gives, unless an affine quantizer comes after it.
bool is_value(const Layer& layer) { return !graph::quantized_point(layer, graph::kOutput); }

Window pool_window(const Layer& layer, const Shape& in) {
  const auto& size = layer.get_ints("pool_size");
  const auto& strides = layer.has("strides") ? layer.get_ints("strides") : size;
  Window w{size[0], size[1], strides[0], strides[1]};
  w.pad_top = graph::window(layer.get_string("padding"), in[0], size[0], strides[0]).before;
  w.pad_left = graph::window(layer.get_string("padding"), in[1], size[1], strides[1]).before;
  return w;
}

}  // namespace

// A maximum of f(x) is f of the maximum where f rises, f of the minimum where it falls.
void Lowering::add_max_pool(const Layer& layer) {
  Signal signal = signals_.at(layer.inputs.at(0));
  if (signal.operation < 0) signal.operation = integers(layer, 0, false);
  const Value& in = value_of(signal.operation);
  const Shape& shape = input_shape(layer);
  if (!signal.pending.is_monotonic()) {
    throw Unsupported(
        "[compile] layer '{}': the largest of values that a curve such as swish, or a PReLU with a slope below 0, "
        "gives is not the curve of the largest. Put a quantizer between '{}' and the pool.",
        layer.name, layer.inputs.at(0));
  }
  const bool is_global = !layer.attributes.contains("pool_size");
  MaxPool action{is_global ? Window{shape[0], shape[1]} : pool_window(layer, shape), {}};
  for (int64_t c = 0; c < in.channels(); ++c) action.takes_minimum.push_back(signal.pending.direction(c) < 0 ? 1 : 0);
  const Shape& out = shapes_.at(layer.name);
  Value result{is_global ? Shape{1, 1, in.channels()} : out, in.scale, in.intervals};
  const int input = signal.operation;
  signal.operation = push(
      {layer.name, {input}, std::move(action), std::move(result), signal.pending.is_identity() && is_value(layer)});
  if (value_of(signal.operation).shape != out) {
    Value pixel{out, value_of(signal.operation).scale, value_of(signal.operation).intervals};
    signal.operation = push({layer.name, {signal.operation}, Reshape{}, std::move(pixel)});
  }
  signals_[layer.name] = std::move(signal);
}

SumPool Lowering::sums_of_windows(const Layer& layer, const Value& in) const {
  const Shape& shape = input_shape(layer);
  if (!layer.attributes.contains("pool_size")) return {Window{shape[0], shape[1]}};
  SumPool action{pool_window(layer, shape)};
  const Window& window = action.window;
  const Shape& out = shapes_.at(layer.name);
  const bool overlaps = window.pad_top > 0 || window.pad_left > 0 ||
                        (out[0] - 1) * window.stride_height + window.height > shape[0] ||
                        (out[1] - 1) * window.stride_width + window.width > shape[1];
  if (!overlaps) return action;
  if (layer.has("average_quantizer")) {
    throw Unsupported(
        "[compile] layer '{}': its windows overlap the border, where one quantized factor does not fit all of them. "
        "Use padding 'valid', or no average_quantizer.",
        layer.name);
  }
  action.common = common_cells(window, shape[0], shape[1], out[0], out[1]);
  // As far as the float network sums without rounding.
  constexpr int64_t kExact = int64_t{1} << 24;
  const Interval codes = in.hull();
  if (action.common == 0 || std::max(std::abs(codes.low), std::abs(codes.high)) > kExact / action.common) {
    throw Unsupported(
        "[compile] layer '{}': its windows overlap the border and average over so many different numbers of cells that "
        "no integers of 24 bits hold them. Use smaller windows, fewer bits, or padding 'valid'.",
        layer.name);
  }
  return action;
}

void Lowering::add_average_pool(const Layer& layer) {
  const int input = integers(layer, 0, false);
  const Value& in = value_of(input);
  const SumPool action = sums_of_windows(layer, in);
  const int64_t cells = action.common != 0 ? action.common : action.window.height * action.window.width;
  Value result{shapes_.at(layer.name), in.scale, {}};
  for (const Interval& interval : in.intervals)
    result.intervals.push_back({interval.low * cells, interval.high * cells});
  Signal signal;
  signal.operation = push({layer.name, {input}, action, std::move(result)});
  const auto quantizer =
      layer.attributes.contains("average_quantizer") ? layer.get_quantizer("average_quantizer") : nullptr;
  if (quantizer != nullptr) {
    const float factor = 1.0f / static_cast<float>(cells);
    signal.pending.push(Multiply{quantizer->quantize(Tensor::scalar(factor)).real[0]});
  } else {
    signal.pending.push(Divide{static_cast<float>(cells)});
    // QKeras' averages are real numbers in the network.
    const bool sums_codes = !layer.attributes.contains("average_quantizer") && comes_from_affine_point(input);
    if (sums_codes) signal.sum_divisor = static_cast<double>(cells);
  }
  signals_[layer.name] = std::move(signal);
  if (layer.attributes.contains("activation")) apply_fused_activation(layer);
}

bool Lowering::network_adds_codes(const std::vector<int>& inputs) const {
  return std::all_of(inputs.begin(), inputs.end(), [&](int input) {
    const std::string source = affine_source(input);
    if (source.empty()) return false;
    const quant::QuantizerPtr quantizer = quant::get_quantizer(source);
    const nlohmann::json config = quantizer->config();
    if (config.contains("bits")) return config.at("bits").get<int>() <= affine::kMostBitsOfAdd;
    const auto grid = code_grid(*quantizer);
    return grid && grid->highest - grid->lowest < 1 << affine::kMostBitsOfAdd;
  });
}

// Scales that are no multiples of each other have a finer grid in common, which the fake-quantized network uses too; it
// knows nothing of that where other quantizers stand before the Add.
affine::CommonGrid Lowering::grid_of_add(const Layer& layer, const std::vector<int>& inputs) const {
  std::vector<float> scales;
  for (const int input : inputs) scales.push_back(value_of(input).scale[0]);
  const affine::CommonGrid grid = [&] {
    try {
      return affine::common_grid(scales);
    } catch (const InvalidArgument& error) {
      throw Unsupported("[compile] layer '{}': {}", layer.name, error.what());
    }
  }();
  const float smallest = *std::min_element(scales.begin(), scales.end());
  if (grid.step == smallest || network_adds_codes(inputs)) return grid;
  throw Unsupported(
      "[compile] layer '{}' adds values of the scales {} and {}: no whole multiple. Use quantizers with power-of-two "
      "scales, or affine ones of at most {} bits.",
      layer.name, *std::max_element(scales.begin(), scales.end()), smallest, affine::kMostBitsOfAdd);
}

int Lowering::on_grid(const Layer& layer, int operation, float step, int64_t factor) {
  if (factor == 1) return operation;
  const Value& in = value_of(operation);
  Value scaled{in.shape, {step}, {}};
  for (const Interval& interval : in.intervals) {
    scaled.intervals.push_back({interval.low * factor, interval.high * factor});
  }
  return push({layer.name, {operation}, Scale{{factor}}, std::move(scaled)});
}

// A quantizer rises, so that the largest of its codes is the code of the largest: where scales are no multiples of each
// other, the layer's own gives all inputs one.
std::vector<int> Lowering::on_one_grid(const Layer& layer, std::vector<int> inputs) {
  std::vector<float> scales;
  for (const int input : inputs) scales.push_back(value_of(input).scale[0]);
  const float smallest = *std::min_element(scales.begin(), scales.end()),
              largest = *std::max_element(scales.begin(), scales.end());
  const auto factor_of = [&](float scale) { return static_cast<double>(scale) / static_cast<double>(smallest); };
  const bool are_multiples = std::all_of(scales.begin(), scales.end(), [&](float scale) {
    return factor_of(scale) == std::floor(factor_of(scale)) && factor_of(scale) <= 0x1p24;
  });
  const auto point = graph::quantized_point(layer, graph::kOutput);
  if (!are_multiples && !point) {
    throw Unsupported(
        "[compile] layer '{}' ({}) compares values of the scales {} and {}: no whole multiple. Use quantizers with "
        "power-of-two scales before it, or let the layer have an output quantizer of its own: 'nibble qat' and 'nibble "
        "ptq' give it one.",
        layer.name, layer.class_name, largest, smallest);
  }
  if (!are_multiples) has_output_point_.insert(layer.name);
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (are_multiples) {
      inputs[i] = on_grid(layer, inputs[i], smallest, static_cast<int64_t>(factor_of(scales[i])));
    } else {
      apply_quantizer(layer, {inputs[i], {}}, grid_of(layer, *point), /*is_layer_output=*/false);
      inputs[i] = signals_.at(layer.name).operation;
    }
  }
  return inputs;
}

void Lowering::add_extremum(const Layer& layer) {
  std::vector<int> inputs;
  for (size_t i = 0; i < layer.inputs.size(); ++i) {
    inputs.push_back(integers(layer, i, true));
    if (value_of(inputs.back()).shape == shapes_.at(layer.name)) continue;
    throw Unsupported("[compile] layer '{}' ({}) compares values of different shapes, which is not known here.",
                      layer.name, layer.class_name);
  }
  inputs = on_one_grid(layer, std::move(inputs));
  const bool takes_minimum = layer.class_name == "Minimum";
  Value result{shapes_.at(layer.name), value_of(inputs[0]).scale, {}};
  for (int64_t c = 0; c < result.channels(); ++c) {
    Interval known = at(value_of(inputs[0]).intervals, c);
    for (const int input : inputs) {
      const Interval& in = at(value_of(input).intervals, c);
      known = takes_minimum ? Interval{std::min(known.low, in.low), std::min(known.high, in.high)}
                            : Interval{std::max(known.low, in.low), std::max(known.high, in.high)};
    }
    result.intervals.push_back(known);
  }
  const bool is_layer_output = is_value(layer) || has_output_point_.contains(layer.name);
  signals_[layer.name] = {push({layer.name, inputs, Extremum{takes_minimum}, std::move(result), is_layer_output}), {}};
}

void Lowering::add_add(const Layer& layer) {
  std::vector<int> inputs;
  for (size_t i = 0; i < layer.inputs.size(); ++i) {
    inputs.push_back(integers(layer, i, true));
    if (value_of(inputs.back()).shape != shapes_.at(layer.name)) {
      throw Unsupported("[compile] layer '{}' adds values of different shapes, which is not known here.", layer.name);
    }
  }
  const affine::CommonGrid grid = grid_of_add(layer, inputs);
  const bool are_codes = network_adds_codes(inputs);
  Value result{shapes_.at(layer.name), {grid.step}, {}};
  result.intervals.assign(static_cast<size_t>(result.channels()), {});
  for (size_t i = 0; i < inputs.size(); ++i) {
    int& input = inputs[i];
    const int64_t whole = grid.factors[i];
    for (int64_t c = 0; c < result.channels(); ++c) {
      const Interval& in = at(value_of(input).intervals, c);
      result.intervals[static_cast<size_t>(c)].low += in.low * whole;
      result.intervals[static_cast<size_t>(c)].high += in.high * whole;
    }
    input = on_grid(layer, input, grid.step, whole);
  }
  Signal signal{push({layer.name, inputs, Add{}, std::move(result), is_value(layer)}), {}};
  if (are_codes) signal.sum_divisor = 1.0;
  signals_[layer.name] = std::move(signal);
}

// The layer whose output quantizer is the next that the values of a Concatenate meet: itself, or, where it leaves its
// quantization to another Concatenate, that one.
const Layer& Lowering::quantizer_of_joined(const Layer& layer) const {
  if (graph::quantized_point(layer, graph::kOutput) || layer.name == model_.outputs[0]) return layer;
  const auto readers = model_.consumers(layer.name);
  if (readers.size() != 1 || model_.layer(readers[0]).class_name != "Concatenate") return layer;
  return quantizer_of_joined(model_.layer(readers[0]));
}

// What leaves its quantization to the Concatenate (transform/qat/layout.h) gives it real numbers: those of a ReLU, a
// batch norm or an average. A quantizer looks at each value for itself, so that it may come before the joining.
void Lowering::add_concatenate(const Layer& layer) {
  const int64_t axis = layer.get_int("axis");
  if (axis != -1 && axis != shapes_.at(layer.name).rank()) {
    throw Unsupported("[compile] layer '{}' joins along axis {}; along the last one, -1, it would do.", layer.name,
                      axis);
  }
  const auto is_real = [&](const std::string& input) {
    const Signal& signal = signals_.at(input);
    return !signal.pending.is_identity() || (signal.operation >= 0 && is_wide(value_of(signal.operation)));
  };
  const Layer& owner = quantizer_of_joined(layer);
  const auto point = graph::quantized_point(owner, graph::kOutput);
  const bool are_quantized = point && std::any_of(layer.inputs.begin(), layer.inputs.end(), is_real);
  const bool has_own = are_quantized && &owner == &layer;
  if (has_own) has_output_point_.insert(layer.name);
  std::vector<int> inputs;
  Value result{shapes_.at(layer.name), {}, {}};
  for (size_t i = 0; i < layer.inputs.size(); ++i) {
    inputs.push_back(are_quantized ? quantized_input(layer, i, grid_of(owner, *point)) : integers(layer, i, false));
    const Value& in = value_of(inputs.back());
    for (int64_t c = 0; c < in.channels(); ++c) {
      result.scale.push_back(program::at(in.scale, c));
      result.intervals.push_back(at(in.intervals, c));
    }
  }
  if (std::equal(result.scale.begin() + 1, result.scale.end(), result.scale.begin())) result.scale.resize(1);
  const bool is_layer_output = has_own || (is_value(layer) && !are_quantized);
  signals_[layer.name] = {push({layer.name, inputs, Concatenate{}, std::move(result), is_layer_output}), {}};
}

int Lowering::quantized_input(const Layer& layer, size_t input, const quant::QuantizerPtr& quantizer) {
  Signal signal = signals_.at(layer.inputs.at(input));
  if (signal.operation < 0) signal.operation = integers(layer, input, false);
  signal.sum_divisor.reset();  // what is joined comes to the network's quantizer as real numbers
  apply_quantizer(layer, std::move(signal), quantizer, /*is_layer_output=*/false);
  return signals_.at(layer.name).operation;
}

void Lowering::add_pad(const Layer& layer) {
  const int input = integers(layer, 0, false);
  const auto& edges = layer.get_ints("padding");
  Value result{shapes_.at(layer.name), value_of(input).scale, value_of(input).intervals};
  for (Interval& interval : result.intervals) {
    interval = {std::min<int64_t>(interval.low, 0), std::max<int64_t>(interval.high, 0)};
  }
  const Pad action{edges.at(0), edges.at(1), edges.at(2), edges.at(3)};
  signals_[layer.name] = {push({layer.name, {input}, action, std::move(result), is_value(layer)}), {}};
}

void Lowering::push_move(const Layer& layer, Action action) {
  Signal signal = signals_.at(layer.inputs.at(0));
  if (signal.operation < 0) signal.operation = integers(layer, 0, false);
  const Value& in = value_of(signal.operation);
  Value result{shapes_.at(layer.name), in.scale, in.intervals};
  const bool is_layer_output = signal.pending.is_identity() && is_value(layer);
  signal.operation = push({layer.name, {signal.operation}, std::move(action), std::move(result), is_layer_output});
  signals_[layer.name] = std::move(signal);
}

void Lowering::add_crop(const Layer& layer) {
  const auto& edges = layer.get_ints("cropping");
  push_move(layer, Crop{edges.at(0), edges.at(1), edges.at(2), edges.at(3)});
}

void Lowering::add_upsampling(const Layer& layer) {
  if (layer.get_string("interpolation") != "nearest") {
    throw Unsupported(
        "[compile] layer '{}' (UpSampling2D): interpolation '{}' computes values between pixels, which is not known "
        "here; 'nearest' repeats the pixels.",
        layer.name, layer.get_string("interpolation"));
  }
  const auto& size = layer.get_ints("size");
  push_move(layer, Repeat{size.at(0), size.at(1)});
}

// As a reshape, where channels change their place.
void Lowering::add_permute(const Layer& layer) {
  Permute action;
  for (const int64_t axis : layer.get_ints("dims")) action.order.push_back(axis - 1);  // Keras counts the batch
  if (action.order.back() == input_shape(layer).rank() - 1) return push_move(layer, std::move(action));
  const int input = integers(layer, 0, true);
  Value result{shapes_.at(layer.name), value_of(input).scale, {value_of(input).hull()}};
  signals_[layer.name] = {push({layer.name, {input}, std::move(action), std::move(result), is_value(layer)}), {}};
}

// Channels change place: one scale and one interval for all, unless the last axis stays.
void Lowering::add_reshape(const Layer& layer) {
  Signal signal = signals_.at(layer.inputs.at(0));
  const bool keeps_channels = input_shape(layer)[-1] == shapes_.at(layer.name)[-1];
  int input = signal.operation;
  if (!keeps_channels || input < 0) {
    input = integers(layer, 0, !keeps_channels);
    signal.pending = {}, signal.sum_divisor.reset();
  }
  const Value& in = value_of(input);
  Value result{shapes_.at(layer.name), in.scale, keeps_channels ? in.intervals : std::vector<Interval>{in.hull()}};
  const bool is_layer_output = signal.pending.is_identity() && is_value(layer);
  signal.operation = push({layer.name, {input}, Reshape{}, std::move(result), is_layer_output});
  signals_[layer.name] = std::move(signal);
}

}  // namespace nibble::program
