#include "nibble/program/lowering.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "nibble/core/error.h"
#include "nibble/graph/channel_order.h"
#include "nibble/program/affine_grid.h"
#include "nibble/program/lowering_rules.h"
#include "nibble/program/outermost_codes.h"

namespace nibble::program {

void Lowering::add_input(const Layer& layer) {
  if (!shapes_.at(layer.name).is_fixed()) {
    throw Unsupported("[compile] input '{}' has the shape {}; a program needs fixed extents.", layer.name,
                      shapes_.at(layer.name).str());
  }
  program_.input_shape = shapes_.at(layer.name);
  signals_[layer.name] = {};
}

int Lowering::quantize_input(const quant::QuantizerPtr& quantizer, const std::string& layer, bool is_layer_output) {
  refuse_draws(layer, *quantizer);
  for (size_t i = 0; i < program_.operations.size(); ++i) {
    const auto* action = std::get_if<QuantizeInput>(&program_.operations[i].action);
    if (action != nullptr && *action->quantizer == *quantizer) return static_cast<int>(i);
  }
  const auto codes = outermost_codes(*quantizer);
  if (!codes) {
    throw Unsupported(
        "[compile] layer '{}': {} cannot quantize the input; a fixed-point quantizer with one fixed scale of at most "
        "1e20 can.",
        layer, quantizer->str());
  }
  Operation operation{.layer = layer,
                      .inputs = {},
                      .action = QuantizeInput{quantizer},
                      .result = {},
                      .is_layer_output = is_layer_output};
  operation.result = {program_.input_shape, {codes->scale}, {{codes->lowest, codes->highest}}};
  return push(std::move(operation));
}

bool Lowering::has_affine_points() const {
  return std::any_of(model_.layers.begin(), model_.layers.end(),
                     [](const Layer& layer) { return !graph::quantized_points(layer).empty(); });
}

std::string Lowering::how_to_quantize(const std::string& source) const {
  if (!has_affine_points()) {
    return fmt::format("Put a quantizer between them: a QActivation after '{}'.", source);
  }
  return fmt::format(
      "They need a quantizer between them: the point 'output' of '{}', or 'post_activation', which it lacks. TFMOT's "
      "schemes (tfmot8) leave some out; 'nibble qat --scheme int8' places it.",
      source);
}

void Lowering::require_weight_point(const Layer& layer, std::string_view weight) const {
  if (graph::quantized_point(layer, weight) || !has_affine_points()) return;
  throw Unsupported(
      "[compile] layer '{}' ({}) has no point '{}', so its weights are real numbers, though other layers of the model "
      "are quantized. TFMOT's schemes (tfmot8) leave a layer that stands before a separate ReLU without any point; "
      "'nibble qat --scheme int8' and 'nibble ptq' quantize it, and so does tfmot8 with activation='relu' in the layer "
      "itself.",
      layer.name, layer.class_name, weight);
}

int Lowering::integers(const Layer& layer, size_t input, bool one_scale) {
  const std::string& source = layer.inputs.at(input);
  const Signal& signal = signals_.at(source);
  int operation = signal.operation;
  if (operation < 0) operation = quantize_input(quant::get_quantizer(options_.input_quantizer), source, true);
  if (!signal.pending.is_identity()) {
    throw Unsupported("[compile] layer '{}' ({}) reads '{}', whose values are real numbers. {}", layer.name,
                      layer.class_name, source, how_to_quantize(source));
  }
  require_narrow(layer, operation);
  return one_scale ? with_one_scale(layer, operation) : operation;
}

void Lowering::require_narrow(const Layer& layer, int operation) const {
  const Value& value = value_of(operation);
  if (!is_wide(value)) return;
  const std::string& source = program_.operations[static_cast<size_t>(operation)].layer;
  throw Unsupported(
      "[compile] layer '{}' ({}) reads sums of {} bits from '{}'; it takes integers of {} bits at most. Put a "
      "quantizer between them.",
      layer.name, layer.class_name, value.bits(), source, kNarrowBits);
}

// Multiplies channels by integers so that all have the smallest scale.
int Lowering::with_one_scale(const Layer& layer, int operation) {
  const Value& value = value_of(operation);
  if (value.scale.size() == 1) return operation;
  const float smallest = *std::min_element(value.scale.begin(), value.scale.end());
  Scale action;
  Value result{value.shape, {smallest}, {}};
  for (size_t c = 0; c < value.scale.size(); ++c) {
    const double factor = static_cast<double>(value.scale[c]) / smallest;
    if (factor != std::floor(factor) || factor > 0x1p24) {
      throw Unsupported(
          "[compile] layer '{}' ({}) adds or mixes channels whose scales are {} and {}: no whole multiple. Use "
          "quantizers with power-of-two scales before it.",
          layer.name, layer.class_name, value.scale[c], smallest);
    }
    action.factors.push_back(static_cast<int64_t>(factor));
    const Interval& in = at(value.intervals, static_cast<int64_t>(c));
    result.intervals.push_back({in.low * action.factors.back(), in.high * action.factors.back()});
  }
  return push({layer.name, {operation}, std::move(action), std::move(result)});
}

namespace {

using Rule = std::function<void(Lowering&, const Layer&)>;

[[noreturn]] void refuse(const Layer& layer, bool has_affine_points);

const std::map<std::string, Rule, std::less<>>& rules() {
  const auto sum = [](bool depthwise, bool dense) {
    return [depthwise, dense](Lowering& l, const Layer& x) { l.add_accumulate(x, depthwise, dense); };
  };
  const auto call = [](void (Lowering::*add)(const Layer&)) {
    return [add](Lowering& l, const Layer& x) { (l.*add)(x); };
  };
  // Of a plain class, where affine quantization gives its weights integers.
  const auto affine_sum = [sum](bool depthwise, bool dense) {
    return [=](Lowering& l, const Layer& x) {
      const std::string_view weight = depthwise ? "depthwise_kernel" : "kernel";
      l.require_weight_point(x, weight);
      if (!graph::quantized_point(x, weight)) refuse(x, false);
      sum(depthwise, dense)(l, x);
    };
  };
  const auto affine_transposed = [](Lowering& l, const Layer& x) {
    l.require_weight_point(x, "kernel");
    if (!graph::quantized_point(x, "kernel")) refuse(x, false);
    l.add_transposed(x);
  };
  static const std::map<std::string, Rule, std::less<>> kRules = {
      {"InputLayer", call(&Lowering::add_input)},
      {"Conv2D", affine_sum(false, false)},
      {"DepthwiseConv2D", affine_sum(true, false)},
      {"Dense", affine_sum(false, true)},
      {"Conv2DTranspose", affine_transposed},
      {"QConv2D", sum(false, false)},
      {"QDepthwiseConv2D", sum(true, false)},
      {"QDense", sum(false, true)},
      {"QConv2DTranspose", call(&Lowering::add_transposed)},
      {"QConv2DBatchnorm", sum(false, false)},
      {"QDepthwiseConv2DBatchnorm", sum(true, false)},
      {"QDenseBatchnorm", sum(false, true)},
      {"BatchNormalization", call(&Lowering::add_batch_norm)},
      {"QBatchNormalization", call(&Lowering::add_batch_norm)},
      {"Activation", call(&Lowering::add_activation)},
      {"QActivation", call(&Lowering::add_activation)},
      {"ReLU", call(&Lowering::add_rectifier)},
      {"LeakyReLU", call(&Lowering::add_rectifier)},
      {"ELU", call(&Lowering::add_elu)},
      {"PReLU", call(&Lowering::add_prelu)},
      {"Softmax", call(&Lowering::add_softmax)},
      {"Dropout", call(&Lowering::add_alias)},
      {"GaussianDropout", call(&Lowering::add_alias)},
      {"GaussianNoise", call(&Lowering::add_alias)},
      {"AlphaDropout", call(&Lowering::add_alias)},
      {"SpatialDropout2D", call(&Lowering::add_alias)},
      {"MaxPooling2D", call(&Lowering::add_max_pool)},
      {"GlobalMaxPooling2D", call(&Lowering::add_max_pool)},
      {"AveragePooling2D", call(&Lowering::add_average_pool)},
      {"GlobalAveragePooling2D", call(&Lowering::add_average_pool)},
      {"QAveragePooling2D", call(&Lowering::add_average_pool)},
      {"QGlobalAveragePooling2D", call(&Lowering::add_average_pool)},
      {"Add", call(&Lowering::add_add)},
      {"Concatenate", call(&Lowering::add_concatenate)},
      {"Maximum", call(&Lowering::add_extremum)},
      {"Minimum", call(&Lowering::add_extremum)},
      {"ZeroPadding2D", call(&Lowering::add_pad)},
      {"Cropping2D", call(&Lowering::add_crop)},
      {"UpSampling2D", call(&Lowering::add_upsampling)},
      {"Permute", call(&Lowering::add_permute)},
      {"Flatten", call(&Lowering::add_reshape)},
      {"Reshape", call(&Lowering::add_reshape)},
  };
  return kRules;
}

// What comes nearest to layers that have no integer form here. {0} is "Q" where the model's classes are QKeras', {1}
// what gives codes: two forms of one text.
std::string_view nearest_to(std::string_view class_name) {
  static const std::map<std::string_view, std::string_view> kNearest = {
      {"Conv1D", "A {0}Conv2D over [1, length, channels] is the same"},
      {"SeparableConv2D", "A {0}DepthwiseConv2D, {1} and a {0}Conv2D of 1 x 1 are the same with codes in between"},
      {"SeparableConv1D", "A {0}DepthwiseConv2D over [1, length, channels] and a {0}Conv2D of 1 x 1 come nearest"},
      {"Subtract", "An Add does, the sign taken into the weights before it"},
      {"Multiply",
       "A product of two values needs a requantization of its own; a {0}DepthwiseConv2D of 1 x 1 has fixed factors"},
      {"Average", "An Add and {1} do, the divisor taken into the weights behind them"},
      {"GlobalMaxPooling1D", "A GlobalMaxPooling2D over [1, length, channels] is the same"},
      {"SimpleRNN", "Convolutions over the steps have no state and come nearest"},
      {"LSTM", "Convolutions over the steps have no state and come nearest"},
      {"GRU", "Convolutions over the steps have no state and come nearest"},
      {"Embedding", "A {0}Dense layer on inputs of 0 and 1, one a word, is the same"},
      {"Dot", "A {0}Dense layer has fixed factors, which integers may multiply"},
      {"GlobalAveragePooling1D", "A GlobalAveragePooling2D over [1, length, channels] is the same"},
      {"MaxPooling1D", "A MaxPooling2D over [1, length, channels] is the same"},
      {"AveragePooling1D", "An AveragePooling2D over [1, length, channels] is the same"},
      {"UpSampling1D", "An UpSampling2D over [1, length, channels] is the same"},
      {"Cropping1D", "A Cropping2D over [1, length, channels] is the same"},
      {"ZeroPadding1D", "A ZeroPadding2D over [1, length, channels] is the same"},
      {"LayerNormalization", "A BatchNormalization does: its statistics are fixed"},
  };
  const auto found = kNearest.find(class_name);
  return found == kNearest.end() ? "" : found->second;
}

// As a sentence; empty: nothing comes near.
std::string advice(std::string_view class_name, bool has_affine_points) {
  std::string_view nearest = nearest_to(class_name);
  // What helps a plain class helps the quantized one.
  if (nearest.empty() && class_name.starts_with('Q')) nearest = nearest_to(class_name.substr(1));
  if (nearest.empty()) return "";
  const char* prefix = has_affine_points ? "" : "Q";
  const char* quantizer = has_affine_points ? "the point 'output'" : "a QActivation";
  return fmt::format(fmt::runtime(nearest), prefix, quantizer) + ". ";
}

[[noreturn]] void refuse(const Layer& layer, bool has_affine_points) {
  std::string known;
  for (const auto& [name, rule] : rules()) known += (known.empty() ? "" : ", ") + name;
  const std::string quantized = "Q" + layer.class_name;
  if (rules().contains(quantized)) {
    throw Unsupported(
        "[compile] layer '{}' is a {}, whose weights are real numbers; a {} has integers. 'nibble quantize' "
        "turns one into the other; 'nibble qat' and 'nibble ptq' give it affine codes.",
        layer.name, layer.class_name, quantized);
  }
  throw Unsupported("[compile] layer '{}' is a {}, which has no integer form here. {}Known: {}.", layer.name,
                    layer.class_name, advice(layer.class_name, has_affine_points), known);
}

}  // namespace

Program Lowering::run() {
  if (model_.inputs.size() != 1 || model_.outputs.size() != 1) {
    throw Unsupported("[compile] model '{}' has {} inputs and {} outputs; one of each makes a program.", model_.name,
                      model_.inputs.size(), model_.outputs.size());
  }
  program_.name = model_.name;
  for (const Layer& layer : model_.layers) {
    const auto rule = rules().find(layer.class_name);
    if (rule == rules().end()) refuse(layer, has_affine_points());
    rule->second(*this, layer);
    if (!has_output_point_.contains(layer.name)) apply_point(layer, graph::kOutput);
  }
  const Signal& last = signals_.at(model_.outputs[0]);
  if (last.operation < 0) throw Unsupported("[compile] model '{}' computes nothing.", model_.name);
  program_.output = last.operation;
  program_.to_real = last.pending;
  return std::move(program_);
}

Program lower(const graph::Model& model, const LoweringOptions& options) {
  graph::require_channels_last(model, "compile");
  graph::require_calibrated(model, "compile");
  register_affine_grids();
  return Lowering(model, options).run();
}

quant::QuantizerPtr input_quantizer(const Program& program, const graph::Model& model) {
  for (const Operation& operation : program.operations) {
    const auto* action = std::get_if<QuantizeInput>(&operation.action);
    if (action == nullptr) continue;
    const graph::Layer* layer = model.find_layer(operation.layer);
    const bool is_added = layer != nullptr && layer->class_name == "InputLayer" && !layer->quantization;
    return is_added ? action->quantizer : nullptr;
  }
  return nullptr;
}

}  // namespace nibble::program
