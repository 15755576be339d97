#include "nibble/transform/qat/scheme.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/graph/layer_schema.h"

namespace nibble::qat {
namespace {

using graph::AffineKind;
using graph::AffineQuantizer;
using graph::Layer;
using graph::LayerQuantization;

// Where the fake quantization of a class stands.
struct ClassRule {
  std::vector<const char*> weights = {};  // names of the kernels
  bool around_activation = false;         // by the function in `activation`
  bool is_activation_layer = false;       // the function is all it does
  bool output = false;
  bool tfmot = true;  // TFMOT has it
};

std::map<std::string, ClassRule, std::less<>> class_rules() {
  std::map<std::string, ClassRule, std::less<>> rules = {
      {"Conv2D", {.weights = {"kernel"}, .around_activation = true}},
      {"DepthwiseConv2D", {.weights = {"depthwise_kernel"}, .around_activation = true}},
      {"Conv2DTranspose", {.weights = {"kernel"}, .around_activation = true}},
      {"Dense", {.weights = {"kernel"}, .around_activation = true}},
      {"Conv1D", {.weights = {"kernel"}, .around_activation = true, .tfmot = false}},
      // Made by BatchNormMode::kFold...: the kernel is the folded one.
      {"QConv2DBatchnorm", {.weights = {"kernel"}, .around_activation = true, .tfmot = false}},
      {"QDepthwiseConv2DBatchnorm", {.weights = {"depthwise_kernel"}, .around_activation = true, .tfmot = false}},
      {"QDenseBatchnorm", {.weights = {"kernel"}, .around_activation = true, .tfmot = false}},
      {"Activation", {.is_activation_layer = true}},
      {"BatchNormalization", {.output = true, .tfmot = false}},
      {"InputLayer", {.output = true}}};
  for (const char* name : {"ReLU", "LeakyReLU", "Concatenate", "Add", "UpSampling2D", "AveragePooling1D",
                           "AveragePooling2D", "GlobalAveragePooling1D", "GlobalAveragePooling2D"}) {
    rules[name] = {.output = true};
  }
  for (const char* name : {"ELU", "PReLU", "Subtract", "Multiply", "Average", "Maximum", "Minimum"}) {
    rules[name] = {.output = true, .tfmot = false};
  }
  for (const char* name : {"Softmax", "Cropping1D", "Cropping2D", "ZeroPadding1D", "ZeroPadding2D", "Dropout",
                           "Flatten", "Permute", "Reshape", "SpatialDropout1D", "SpatialDropout2D", "MaxPooling2D",
                           "GlobalMaxPooling1D", "GlobalMaxPooling2D"}) {
    rules[name] = {};
  }
  for (const char* name : {"MaxPooling1D", "GaussianNoise", "GaussianDropout", "AlphaDropout"}) {
    rules[name] = {.tfmot = false};
  }
  return rules;
}

const std::map<std::string, ClassRule, std::less<>>& rules() {
  static const auto kRules = class_rules();
  return kRules;
}

struct Places {
  bool before = false, after = false;
};

Places places_of(const Layer& layer, const std::string& function, const Scheme& scheme) {
  if (function == "softmax" || function == "sigmoid" || function == "tanh") return {.before = true};
  if (function == "gelu") return {.before = true, .after = true};
  if (function == "linear" || function == "relu" || function == "swish" || !scheme.tfmot) return {.after = true};
  throw Unsupported(
      "[quantize] {}: TFMOT has no place for fake quantization around the activation '{}'; it can do linear, relu, "
      "swish, softmax, sigmoid, tanh and gelu. Use a scheme of nibble's own, or give the layer a configuration.",
      graph::described(layer), function);
}

// Sigmoid and tanh have known ends: codes 1 / 2^b apart, as TFLite's. Softmax stays float: it ends a network.
AffineQuantizer known_range(const std::string& function, int bits) {
  const float codes = std::ldexp(1.0f, bits);
  if (function == "sigmoid")
    return {.kind = AffineKind::kFixed, .num_bits = bits, .fixed = {0.0f, 1.0f - 1.0f / codes}};
  if (function == "tanh") return {.kind = AffineKind::kFixed, .num_bits = bits, .fixed = {-1.0f, 1.0f - 2.0f / codes}};
  return {};
}

void quantize_activation(const Layer& layer, const Scheme& scheme, bool is_rectified, LayerQuantization& result) {
  const std::string function = layer.activation_function();
  if (function.empty()) {
    throw Unsupported(
        "[quantize] {}: its activation is the QKeras quantizer {}; affine quantization starts from a float model.",
        graph::described(layer), layer.get_quantizer("activation")->str());
  }
  const Places places = places_of(layer, function, scheme);
  if (places.before) result.pre_activation = activation_quantizer(scheme, false);
  if (places.after) result.post_activation = activation_quantizer(scheme, is_rectified);
  if (!scheme.tfmot && !places.after) result.post_activation = known_range(function, scheme.activation_bits);
}

void quantize_activation_layer(const Layer& layer, const Scheme& scheme, bool is_rectified, LayerQuantization& result) {
  const std::string function = layer.activation_function();
  if (function.empty()) {
    throw Unsupported("[quantize] {} is a QKeras quantizer already.", graph::described(layer));
  }
  if (function == "gelu" && is_tfmot_of_bits(scheme)) {
    throw Unsupported(
        "[quantize] {}: TFMOT's scheme of n bits has no Activation layer of gelu. Use tfmot8 or a scheme of nibble's "
        "own, or give the layer a configuration.",
        graph::described(layer));
  }
  if (scheme.tfmot && function != "linear" && function != "relu6") places_of(layer, function, scheme);
  if (function == "linear" || function == "softmax") return;
  if (function == "sigmoid" || function == "tanh") {
    if (!scheme.tfmot) result.output = known_range(function, scheme.activation_bits);
    return;
  }
  result.output = activation_quantizer(scheme, is_rectified);
}

bool is_watching(AffineKind kind) { return graph::is_tracker(kind) && kind != AffineKind::kFixed; }

bool has_step(AffineKind kind) { return kind == AffineKind::kLsq || kind == AffineKind::kLsqPlus; }

bool has_quantizer_attribute(const Layer& layer) {
  for (const graph::AttributeSpec& spec : graph::schema_of(layer).attributes) {
    if (spec.kind == graph::AttributeKind::kQuantizer && layer.has(spec.name)) return true;
  }
  return false;
}

}  // namespace

AffineQuantizer weight_quantizer(const Scheme& scheme, const Layer& layer) {
  AffineQuantizer quantizer{.kind = scheme.weights,
                            .num_bits = scheme.weight_bits,
                            .per_axis = scheme.per_axis && scheme.weights != AffineKind::kDorefa,
                            .symmetric = true,
                            .narrow_range = true,
                            .ema_decay = scheme.ema_decay,
                            .average_start = scheme.average_start};
  if (is_watching(scheme.weights)) quantizer.range = range_rule(scheme, scheme.weight_bits);
  if (has_step(scheme.weights)) quantizer.gradient_elements = scheme.gradient_elements;
  const bool is_transposed = layer.class_name == "Conv2DTranspose";
  if (scheme.tfmot && (is_transposed || layer.class_name == "Dense")) quantizer.per_axis = false;
  if (is_transposed && quantizer.per_axis) quantizer.axis = -2;  // kernels are (h, w, out, in)
  return quantizer;
}

AffineQuantizer activation_quantizer(const Scheme& scheme, bool is_rectified) {
  AffineKind kind = scheme.activations;
  const bool needs_rectified = kind == AffineKind::kPact || kind == AffineKind::kDorefa;
  if (needs_rectified && !is_rectified) kind = AffineKind::kMovingAverage;
  return {.kind = kind,
          .num_bits = scheme.activation_bits,
          .symmetric = has_step(kind) && !is_rectified,
          .ema_decay = scheme.ema_decay,
          .average_start = scheme.average_start,
          .range = is_watching(kind) ? range_rule(scheme, scheme.activation_bits) : affine::RangeRule::kExtremes,
          .penalty = kind == AffineKind::kPact ? scheme.penalty : 0.0,
          .gradient_bits = kind == AffineKind::kDorefa ? scheme.gradient_bits : 0,
          .gradient_elements = has_step(kind) ? scheme.gradient_elements : affine::GradientElements::kShared};
}

AffineQuantizer input_quantizer(const Scheme& scheme) {
  return {
      .kind = AffineKind::kAllValues, .num_bits = scheme.input_bits, .range = range_rule(scheme, scheme.input_bits)};
}

affine::RangeRule range_rule(const Scheme& scheme, int num_bits) {
  if (scheme.ranges) return *scheme.ranges;
  const bool is_usual = !scheme.tfmot && is_watching(scheme.weights) && is_watching(scheme.activations);
  return is_usual ? affine::usual_range_rule(num_bits) : affine::RangeRule::kExtremes;
}

void set_bits(const Scheme& scheme, AffineQuantizer& quantizer, int num_bits) {
  quantizer.num_bits = num_bits;
  if (is_watching(quantizer.kind)) quantizer.range = range_rule(scheme, num_bits);
}

std::optional<LayerQuantization> default_quantization(const Layer& layer, const Scheme& scheme, bool is_rectified) {
  const auto found = rules().find(layer.class_name);
  if (found == rules().end() || (scheme.tfmot && !found->second.tfmot)) return std::nullopt;
  if (has_quantizer_attribute(layer)) {
    throw Unsupported("[quantize] {} has QKeras quantizers already; affine quantization starts from a float model.",
                      graph::described(layer));
  }
  const ClassRule& rule = found->second;
  LayerQuantization result;
  for (const char* weight : rule.weights) result.weights.push_back({weight, weight_quantizer(scheme, layer)});
  if (!rule.weights.empty()) result.bias_bits = scheme.bias_bits;
  if (rule.around_activation) quantize_activation(layer, scheme, is_rectified, result);
  if (rule.is_activation_layer) quantize_activation_layer(layer, scheme, is_rectified, result);
  if (rule.output) {
    result.output =
        layer.class_name == "InputLayer" ? input_quantizer(scheme) : activation_quantizer(scheme, is_rectified);
  }
  return result;
}

bool is_qkeras_quantized(const Layer& layer) {
  return has_quantizer_attribute(layer) ||
         (layer.attributes.contains("activation") && layer.get_quantizer("activation") != nullptr);
}

bool computes_with_weights(const Layer& layer) {
  if (const auto found = rules().find(layer.class_name); found != rules().end()) return !found->second.weights.empty();
  return graph::schema_of(layer).weights != nullptr;
}

std::vector<std::string> known_classes(const Scheme& scheme) {
  std::vector<std::string> names;
  for (const auto& [name, rule] : rules()) {
    if (rule.tfmot || !scheme.tfmot) names.push_back(name);
  }
  return names;
}

void check(const Scheme& scheme) {
  const std::map<const char*, int> widths = {{"weight_bits", scheme.weight_bits},
                                             {"activation_bits", scheme.activation_bits},
                                             {"input_bits", scheme.input_bits},
                                             {"least_result_bits", scheme.least_result_bits}};
  for (const auto& [name, bits] : widths) {
    if (bits >= 2 && bits <= 16) continue;
    throw InvalidArgument("[quantize] {} is {}; it must lie between 2 and 16.", name, bits);
  }
  if (scheme.edge_weight_bits != 0 && (scheme.edge_weight_bits < 2 || scheme.edge_weight_bits > 16)) {
    throw InvalidArgument("[quantize] edge_weight_bits is {}; it must lie between 2 and 16, or be 0 for weight_bits.",
                          scheme.edge_weight_bits);
  }
  if (scheme.penalty != 0.0 && scheme.activations != AffineKind::kPact) {
    throw InvalidArgument(
        "[quantize] a penalty is on PACT's clipping levels; this scheme has none. Set quantizer to pact.");
  }
  if (scheme.gradient_bits < 0 || scheme.gradient_bits > 16) {
    throw InvalidArgument("[quantize] gradient_bits is {}; it must lie between 1 and 16, or be 0 for float gradients.",
                          scheme.gradient_bits);
  }
  if (scheme.gradient_bits != 0 && scheme.activations != AffineKind::kDorefa) {
    throw InvalidArgument("[quantize] gradient_bits belongs to DoReFa's activations. Set quantizer to dorefa.");
  }
  const bool counts_all = scheme.gradient_elements != affine::GradientElements::kShared;
  if (counts_all && !has_step(scheme.weights) && !has_step(scheme.activations)) {
    throw InvalidArgument(
        "[quantize] gradient_elements scales the gradients of learned steps; this scheme has none. "
        "Set quantizer to lsq or lsq_plus.");
  }
  const bool folds_in_steps =
      scheme.batch_norm == BatchNormMode::kFoldBatch || scheme.batch_norm == BatchNormMode::kFoldRunning;
  if (scheme.tfmot && folds_in_steps) {
    throw InvalidArgument(
        "[quantize] TFMOT has no layers whose batch norms are folded in each step of the training. Set batch_norm to "
        "float or fold, or use a scheme of nibble's own.");
  }
  if (scheme.tfmot && scheme.ranges == affine::RangeRule::kMse) {
    throw InvalidArgument(
        "[quantize] TFMOT's ranges are the extremes of a batch. Set ranges to extremes, or use a scheme of nibble's "
        "own.");
  }
  if (scheme.weights == AffineKind::kPact) {
    throw InvalidArgument("[quantize] PACT is for activations; weights can have LSQ, DoReFa or a range tracker.");
  }
  for (const AffineKind kind : {scheme.weights, scheme.activations}) {
    if (kind != AffineKind::kFixed) continue;
    throw InvalidArgument(
        "[quantize] Fixed cannot stand in a scheme: its range belongs to one tensor. Give it in a "
        "layer's configuration.");
  }
}

Scheme tfmot_scheme(int weight_bits, int activation_bits) {
  return {.weight_bits = weight_bits,
          .activation_bits = activation_bits,
          .input_bits = activation_bits,
          .least_result_bits = activation_bits,
          .bias_bits = 0,
          .ema_decay = 0.999,
          .average_start = affine::AverageStart::kInitialRange,
          .batch_norm = BatchNormMode::kFloat,
          .tfmot = true};
}

bool is_tfmot_of_bits(const Scheme& scheme) {
  const bool is_of_8 = scheme.weight_bits == 8 && scheme.activation_bits == 8 && scheme.input_bits == 8;
  return scheme.tfmot && !is_of_8;
}

LayerQuantization as_tfmot(LayerQuantization quantization) {
  const auto change = [](AffineQuantizer& quantizer) {
    if (quantizer.kind == AffineKind::kAllValues) quantizer.per_axis = false;
    if (quantizer.kind == AffineKind::kFixed) quantizer.num_bits = 8;
  };
  for (graph::WeightQuantizer& weight : quantization.weights) {
    change(weight.quantizer);
    const bool is_by_channel = weight.quantizer.per_axis && weight.quantizer.axis == -1;
    // With the usual multiplier of 1, a single range.
    if (weight.weight == "depthwise_kernel" && is_by_channel) weight.quantizer.axis = 3;
  }
  for (AffineQuantizer* quantizer :
       {&quantization.pre_activation, &quantization.post_activation, &quantization.output}) {
    change(*quantizer);
  }
  return quantization;
}

Scheme scheme_named(std::string_view name) {
  for (const std::string_view prefix : {"int", "tfmot"}) {
    if (!name.starts_with(prefix)) continue;
    const std::string_view number = name.substr(prefix.size());
    int bits = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), bits);
    if (error != std::errc() || end != number.data() + number.size() || bits < 2 || bits > 16) break;
    if (prefix == "tfmot") return tfmot_scheme(bits, bits);
    return {.weight_bits = bits, .activation_bits = bits, .input_bits = std::max(bits, 8)};
  }
  throw InvalidArgument(
      "[quantize] '{}' is no scheme. Pick int2 .. int16 (int8, int4), tfmot2 .. tfmot16 (tfmot8), or a JSON file.",
      name);
}

void set_quantizer(Scheme& scheme, std::string_view name) {
  struct Pair {
    std::string name;
    AffineKind weights, activations;
  };
  static const std::vector<Pair> kPairs = {{"moving_average", AffineKind::kLastValue, AffineKind::kMovingAverage},
                                           {"last_value", AffineKind::kLastValue, AffineKind::kLastValue},
                                           {"all_values", AffineKind::kAllValues, AffineKind::kAllValues},
                                           {"lsq", AffineKind::kLsq, AffineKind::kLsq},
                                           {"lsq_plus", AffineKind::kLsqPlus, AffineKind::kLsqPlus},
                                           {"pact", AffineKind::kLastValue, AffineKind::kPact},
                                           {"dorefa", AffineKind::kDorefa, AffineKind::kDorefa}};
  std::vector<std::string> names;
  for (const Pair& pair : kPairs) {
    names.push_back(pair.name);
    if (pair.name != name) continue;
    scheme.weights = pair.weights;
    scheme.activations = pair.activations;
    if (scheme.activations != AffineKind::kPact) scheme.penalty = 0.0;
    if (scheme.activations != AffineKind::kDorefa) scheme.gradient_bits = 0;
    if (!has_step(scheme.weights)) scheme.gradient_elements = affine::GradientElements::kShared;
    return;
  }
  throw InvalidArgument("[quantize] '{}' is no quantizer of a scheme. {}", name, suggest(name, names));
}

}  // namespace nibble::qat
