#include "nibble/transform/statistics.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "nibble/core/error.h"
#include "nibble/graph/channel_order.h"
#include "nibble/transform/finalize.h"
#include "nibble/transform/weight_roles.h"

namespace nibble::transform {

NumberMode number_mode(const quant::QuantizerPtr& quantizer) {
  if (quantizer == nullptr) return {};
  const quant::NumericFormat format = quantizer->format();
  const std::string_view name = quantizer->class_name();
  if (format.kind == quant::NumericFormat::Kind::kPowerOfTwo) {
    return {NumberMode::kPo2, format.bit_width, name == "quantized_po2"};
  }
  if (name.ends_with("ternary")) return {NumberMode::kTernary, 2, true};
  if (name.ends_with("binary")) return {NumberMode::kBinary, 1, true};  // use_01 too, as in the reference
  if (name == "bernoulli") return {NumberMode::kZeroOne, 1, false};
  if (format.kind == quant::NumericFormat::Kind::kFloat) return {};
  if (format.bit_width == 2 && format.integer_bits == 1 && (name == "quantized_bits" || name == "quantized_ulaw")) {
    return {NumberMode::kTernary, 2, true};
  }
  if (name == "quantized_relu") {
    const bool is_01 = format.bit_width == 1 && format.integer_bits == 1;
    return {is_01 ? NumberMode::kZeroOne : NumberMode::kFixed, format.bit_width, false};
  }
  return {NumberMode::kFixed, format.bit_width, name == "quantized_bits" || format.is_signed};
}

std::string_view operation_type(NumberMode::Kind weight, NumberMode::Kind input) {
  static constexpr std::string_view kTable[6][6] = {
      {"mult", "barrel", "mux", "mux", "mux", "fmult"}, {"barrel", "adder", "mux", "xor", "mux", "fmult"},
      {"mux", "mux", "mux", "mux", "xor", "fmult"},     {"mux", "xor", "mux", "xor", "xor", "fmult"},
      {"mux", "mux", "xor", "xor", "xor", "fmult"},     {"fmult", "fmult", "fmult", "fmult", "fmult", "fmult"}};
  return kTable[weight][input];
}

std::string LayerOperation::type() const {
  return fmt::format("{}{}_{}_{}", weight.is_signed || input.is_signed ? 's' : 'u', operation, weight.bits, input.bits);
}

namespace {

using graph::Layer;

int64_t product(const Shape& shape, int axes) {
  int64_t result = 1;
  for (int axis = 0; axis < axes; ++axis) result *= shape[axis];
  return result;
}

int64_t kernel_area(const Layer& layer) {
  const auto& size = layer.get_ints("kernel_size");
  return std::accumulate(size.begin(), size.end(), int64_t{1}, std::multiplies<>());
}

// Operations per sample and weights, by QKeras' rules: a depthwise kernel counts area * out * in weights, and the
// pointwise part of a separable convolution leaves out the input channels.
struct Counts {
  int64_t operations = 0;
  std::vector<int64_t> weights;
};

Counts counts_of(const Layer& layer, const Shape& in, const Shape& out) {
  const std::string& name = layer.class_name;
  if (name.starts_with("QDense")) return {in.elements() * out.elements(), {in.elements() * out.elements()}};
  const int64_t area = kernel_area(layer), positions = product(out, out.rank() - 1), ci = in[-1], co = out[-1];
  if (name.starts_with("QDepthwise")) return {area * positions * ci, {area * co * ci}};
  if (name.starts_with("QSeparable")) return {area * positions * ci + positions * co, {area * ci, co * ci}};
  return {positions * co * area * ci, {area * co * ci}};
}

bool is_counted(const Layer& layer) {
  static const char* const kClasses[] = {"QDense",           "QConv1D",          "QConv2D",
                                         "QDepthwiseConv2D", "QSeparableConv1D", "QSeparableConv2D",
                                         "QConv2DBatchnorm", "QDenseBatchnorm",  "QDepthwiseConv2DBatchnorm"};
  return std::find(std::begin(kClasses), std::end(kClasses), layer.class_name) != std::end(kClasses);
}

bool has_bias(const Layer& layer) { return layer.class_name.ends_with("Batchnorm") || layer.get_bool("use_bias"); }

LayerOperation operation_of(const Layer& layer, const NumberMode& input, const Shape& in, const Shape& out) {
  LayerOperation result;
  result.layer = layer.name;
  for (const WeightRole& role : weight_roles(layer.class_name)) {
    const NumberMode mode = number_mode(effective_quantizer(layer, role));
    if (role.weight == "bias") {
      // A layer without bias keeps no quantizer for it.
      result.bias_mode = has_bias(layer) ? mode : NumberMode{};
    } else {
      result.weight_modes.push_back(mode);
    }
  }
  const Counts counts = counts_of(layer, in, out);
  result.count = counts.operations;
  result.weight_counts = counts.weights;
  result.weight = result.weight_modes.at(0);
  result.input = input;
  result.operation = operation_type(result.weight.kind, input.kind);
  result.bias_count = has_bias(layer) ? out[-1] : 0;
  return result;
}

// The mode of a layer's output: its activation's, or that of what it is fed.
NumberMode output_mode(const Layer& layer, const NumberMode& input) {
  const bool quantizes = layer.class_name == "QActivation" || is_counted(layer);
  if (!quantizes || !layer.attributes.contains("activation")) return input;
  return number_mode(layer.get_quantizer("activation"));
}

}  // namespace

std::vector<LayerOperation> extract_model_operations(const graph::Model& model, quant::QuantizerPtr input) {
  graph::require_channels_last(model, "qstats");
  if (input == nullptr) input = quant::get_quantizer("quantized_relu(8,0)");
  const auto shapes = graph::infer_shapes(model);
  std::map<std::string, NumberMode> modes;
  std::vector<LayerOperation> operations;
  for (const Layer& layer : model.layers) {
    if (layer.inputs.empty()) {
      modes[layer.name] = number_mode(input);
      continue;
    }
    const NumberMode& in = modes.at(layer.inputs[0]);
    if (is_counted(layer)) {
      operations.push_back(operation_of(layer, in, shapes.at(layer.inputs[0]), shapes.at(layer.name)));
    }
    modes[layer.name] = output_mode(layer, in);
  }
  return operations;
}

namespace {

// QKeras' default list.
bool has_sparsity(const Layer& layer) {
  return is_counted(layer) || layer.class_name.ends_with("RNN") || layer.class_name.ends_with("LSTM") ||
         layer.class_name.ends_with("GRU") || layer.class_name.ends_with("Bidirectional") ||
         layer.class_name == "QConv2DTranspose";
}

}  // namespace

ModelSparsity model_sparsity(const graph::Model& model, std::span<const std::string> allow_list) {
  const Finalized finalized = finalize(model);
  ModelSparsity result;
  int64_t zeros = 0, values = 0;
  for (const FinalizedLayer& layer : finalized.layers) {
    const bool is_listed = std::find(allow_list.begin(), allow_list.end(), layer.class_name) != allow_list.end();
    if (allow_list.empty() ? !has_sparsity(model.layer(layer.name)) : !is_listed) continue;
    int64_t layer_zeros = 0, layer_values = 0;
    for (const FinalizedWeight& weight : layer.weights) {
      const auto data = weight.value.data();
      layer_zeros += std::count(data.begin(), data.end(), 0.0f);
      layer_values += weight.value.size();
    }
    result.layers.push_back(
        {layer.name, static_cast<double>(layer_zeros) / static_cast<double>(std::max<int64_t>(1, layer_values))});
    zeros += layer_zeros, values += layer_values;
  }
  if (values > 0) result.total = static_cast<double>(zeros) / static_cast<double>(values);
  return result;
}

std::string qstats_text(std::span<const LayerOperation> operations, const ModelSparsity& sparsity) {
  constexpr const char* kLine = "    ----------------------------------------\n";
  std::string text = "\nNumber of operations in model:\n";
  std::map<std::string, int64_t> by_type;
  for (const LayerOperation& operation : operations) {
    text += fmt::format("    {:30}: {:<5} ({})\n", operation.layer, operation.count, operation.type());
    by_type[operation.type()] += operation.count;
  }
  text += "\nNumber of operation types in model:\n";
  for (const auto& [type, count] : by_type) text += fmt::format("    {:30}: {}\n", type, count);

  text += "\nWeight profiling:\n";
  int64_t bits = 0;
  for (const LayerOperation& operation : operations) {
    for (size_t i = 0; i < operation.weight_counts.size(); ++i) {
      const std::string number = operation.weight_counts.size() > 1 ? fmt::format("_{}", i) : "";
      text += fmt::format("    {:30} : {:<5} ({}-bit unit)\n", operation.layer + "_weights" + number,
                          operation.weight_counts[i], operation.weight_modes[i].bits);
      bits += operation.weight_counts[i] * operation.weight_modes[i].bits;
    }
    text += fmt::format("    {:30} : {:<5} ({}-bit unit)\n", operation.layer + "_bias", operation.bias_count,
                        operation.bias_mode.bits);
    bits += operation.bias_count * operation.bias_mode.bits;
  }
  text += kLine + fmt::format("    {:30} : {:5}\n", "Total Bits", bits);

  text += "\nWeight sparsity:\n";
  for (const LayerSparsity& layer : sparsity.layers)
    text += fmt::format("    {:30} : {:.4f}\n", layer.layer, layer.share);
  text += kLine + fmt::format("    {:30} : {:.4f}\n", "Total Sparsity", sparsity.total);
  return text;
}

}  // namespace nibble::transform
