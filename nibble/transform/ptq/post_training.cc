#include "nibble/transform/ptq/post_training.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"
#include "nibble/graph/layer_schema.h"
#include "nibble/quant/affine/affine_params.h"
#include "nibble/transform/ptq/activation_points.h"
#include "nibble/transform/ptq/equalize_layers.h"
#include "nibble/transform/ptq/expected_values.h"
#include "nibble/transform/ptq/kernel_layout.h"
#include "nibble/transform/ptq/layer_quantizer.h"
#include "nibble/transform/ptq/layer_values.h"
#include "nibble/transform/separable_layers.h"

namespace nibble::ptq {
namespace {

void refuse_quantized(const graph::Model& model) {
  for (const graph::Layer& layer : model.layers) {
    bool has_quantizer = layer.quantization.has_value() || layer.class_name == "QActivation";
    for (const auto& [name, value] : layer.attributes) {
      const auto* quantizer = std::get_if<quant::QuantizerPtr>(&value);
      has_quantizer = has_quantizer || (quantizer != nullptr && *quantizer != nullptr);
    }
    if (!has_quantizer) continue;
    throw InvalidArgument(
        "[ptq] {} already has quantizers. Post-training quantization starts from a float model: give the one that "
        "this was made from.",
        graph::described(layer));
  }
}

void check_weights(const graph::Model& model) {
  for (const graph::Layer& layer : model.layers) {
    for (const graph::Weight& weight : layer.weights) {
      for (int64_t i = 0; i < weight.value.size(); ++i) {
        if (std::isfinite(weight.value[i])) continue;
        throw InvalidArgument(
            "[ptq] {}: its weight '{}' holds {} at {}. The training has diverged; train the model anew.",
            graph::described(layer), weight.name, weight.value[i], i);
      }
    }
  }
}

void check(const graph::Model& model, const Tensor& samples, const PostTrainingOptions& o) {
  check_weights(model);
  refuse_quantized(model);
  affine::check_bit_width("ptq", o.bit_width);
  affine::check_bit_width("ptq: least_result_bits", o.least_result_bits);
  if (o.bias_bits != 0 && (o.bias_bits < 2 || o.bias_bits > 32)) {
    throw InvalidArgument("[ptq] bias_bits is {}; it must lie between 2 and 32, or be 0 for float biases.",
                          o.bias_bits);
  }
  if (o.batch_size < 1) throw InvalidArgument("[ptq] batch_size is {}; it must be at least 1.", o.batch_size);
  if (model.inputs.size() != 1) {
    throw Unsupported("[ptq] model '{}' has {} inputs; models of one input can be quantized after training.",
                      model.name, model.inputs.size());
  }
  const Shape shape = graph::infer_shapes(model).at(model.inputs[0]);
  require_fixed_input(model.inputs[0], shape);
  std::vector<int64_t> wanted = {samples.shape().rank() > 0 ? samples.shape()[0] : 0};
  wanted.insert(wanted.end(), shape.begin(), shape.end());
  if (samples.shape() != Shape(wanted) || wanted[0] < 1) {
    throw InvalidArgument("[ptq] the calibration samples have shape {}; model '{}' takes at least one of shape {}.",
                          samples.shape().str(), model.name, shape.str());
  }
}

bool is_rectified(const graph::Model& model, const graph::Layer& layer) {
  const std::string own = layer.activation_function();
  const auto readers = model.consumers(layer.name);
  if (own != "linear" || readers.size() != 1) return own == "relu";
  const graph::Layer& reader = model.layer(readers[0]);
  if (reader.class_name != "ReLU") return reader.class_name == "Activation" && reader.activation_function() == "relu";
  const auto plain = [&](const char* name) { return !reader.has(name) || reader.get_float(name) == 0.0; };
  return !reader.has("max_value") && plain("negative_slope") && plain("threshold");
}

}  // namespace

void require_fixed_input(const std::string& input, const Shape& shape) {
  if (shape.is_fixed()) return;
  throw Unsupported(
      "[ptq] layer '{}' takes samples of shape {}; models of a fixed shape can be quantized after training. Write the "
      "extents into the layer's batch_input_shape, and give the trained weights with --weights.",
      input, shape.str());
}

namespace {

class Run {
 public:
  Run(const graph::Model& given, const Tensor& samples, const PostTrainingOptions& options,
      const LayerFunction& compute)
      : samples_(samples), o_(options), compute_(compute) {
    const graph::Model model = transform::with_separated_layers(given);
    FoldedBatchNorms folded = fold_batch_norms(model);
    result_.folded = std::move(folded.folded);
    result_.left_batch_norms = std::move(folded.left);
    float_model_ = std::move(folded.model);
    moments_ = std::move(folded.moments);
    deployed_ = o_.fold_divisor == FoldDivisor::kStandardDeviation ? float_model_
                                                                   : fold_batch_norms(model, o_.fold_divisor).model;
    if (o_.equalize) equalize();
    if (o_.bias_correction == BiasCorrection::kAnalytic) expected_.emplace(float_model_, moments_);
    result_.model = deployed_;
    for (ActivationPoint& point : activation_points(float_model_)) points_.emplace(point.layer, point);
  }

  PostTrainingResult run(const std::function<void(const std::string&, size_t)>& before_layer) {
    ValueStore values(float_model_);
    for (size_t i = 0; i < float_model_.layers.size(); ++i) {
      const graph::Layer& layer = float_model_.layers[i];
      if (before_layer) before_layer(layer.name, i);
      QuantizedLayer row{.layer = layer.name, .class_name = layer.class_name};
      quantization_ = {};
      ranges_.clear();
      LayerValues value = layer.inputs.empty() ? LayerValues{samples_, samples_, {}} : through(layer, values, row);
      quantize_output(layer, value, row);
      store(layer.name);
      values.release_inputs(layer);
      values.keep(layer.name, std::move(value));
      if (row.weight_bits > 0 || row.output_bits > 0 || !row.note.empty()) result_.layers.push_back(std::move(row));
    }
    return std::move(result_);
  }

 private:
  void equalize() {
    if (o_.fold_divisor != FoldDivisor::kStandardDeviation) {
      throw InvalidArgument("[ptq] the ablation of the fold cannot be combined with equalization.");
    }
    Equalization equalized = equalize_layers(float_model_);
    result_.equalized_pairs = static_cast<int>(equalized.pairs.size());
    result_.largest_equalization = equalized.largest_factor;
    for (const auto& [layer, divisors] : equalized.divisors) divide_moments(layer, divisors);
    float_model_ = equalized.model;
    deployed_ = std::move(equalized.model);
  }

  void divide_moments(const std::string& layer, std::span<const double> divisors) {
    const auto found = moments_.find(layer);
    if (found == moments_.end()) return;
    for (size_t c = 0; c < divisors.size(); ++c) {
      found->second.mean[c] /= divisors[c];
      found->second.deviation[c] /= divisors[c];
    }
  }

  // What the layer gives, and before_activation_ where that is asked for.
  LayerValues through(const graph::Layer& layer, const ValueStore& values, QuantizedLayer& row) {
    std::vector<Tensor> real, quantized;
    for (const std::string& input : layer.inputs) {
      real.push_back(values.of(input).real);
      quantized.push_back(values.of(input).quantized);
    }
    const LayerValues& first = values.of(layer.inputs[0]);
    graph::Layer computed = layer;
    if (has_kernel(layer)) {
      computed = quantize_weights(layer, {&real[0], &quantized[0], first.scale}, row);
    } else if (!layer.weights.empty()) {
      row.note = fmt::format("weights of {} stay float", layer.class_name);
    }
    observed_before_activation_.reset();
    const bool has_pre_activation =
        points_.contains(layer.name) && points_.at(layer.name).point == graph::kPreActivation;
    if (has_pre_activation) {
      after_point_ = graph::make_layer("Activation", layer.name, {{"activation", layer.activation_function()}});
      graph::Layer linear = layer;
      linear.attributes["activation"] = std::string("linear");
      computed.attributes["activation"] = std::string("linear");
      return {compute_(linear, real), compute_(computed, quantized), {}};
    }
    if (o_.range_before_activation) watch_before_activation(layer, real);
    LayerValues value{compute_(layer, real), compute_(computed, quantized), {}};
    if (moves_values(layer)) value.scale = first.scale;
    return value;
  }

  void watch_before_activation(const graph::Layer& layer, const std::vector<Tensor>& real) {
    if (is_activation_layer(layer)) observed_before_activation_ = real[0];
    if (!has_kernel(layer) || layer.activation_function() == "linear") return;
    graph::Layer linear = layer;
    linear.attributes["activation"] = std::string("linear");
    observed_before_activation_ = compute_(linear, real);
  }

  // Fills in the quantized layer's weights, in the result and as it is computed with.
  graph::Layer quantize_weights(const graph::Layer& layer, const LayerInputs& inputs, QuantizedLayer& row) {
    const LayerTask task{.layer = layer,
                         .deployed = deployed_.layer(layer.name),
                         .inputs = inputs,
                         .is_rectified = is_rectified(float_model_, layer),
                         .expected_inputs = expected_ ? expected_->mean_of(layer.inputs[0]) : nullptr};
    QuantizedWeights weights = quantize_layer_weights(task, o_, row);
    const std::string kernel = layer.class_name == "DepthwiseConv2D" ? "depthwise_kernel" : "kernel";
    const bool is_transposed = o_.per_axis && layer.class_name == "Conv2DTranspose";  // kernels are (h, w, out, in)
    quantization_.weights = {{kernel,
                              {.kind = graph::AffineKind::kLastValue,
                               .num_bits = o_.bit_width,
                               .per_axis = o_.per_axis,
                               .symmetric = true,
                               .narrow_range = true,
                               .axis = is_transposed ? -2 : -1,
                               .range = range_rule(o_.weight_rule, o_.bit_width)}}};
    ranges_.emplace_back(kernel, std::move(weights.ranges));
    if (weights.has_accumulator_bias) quantization_.bias_bits = o_.bias_bits;
    graph::Layer& stored = result_.model.layer(layer.name);
    const bool is_float = o_.keep_float_weights && !o_.adaptive_rounding;
    if (!is_float) kernel_of(stored) = kernel_of(weights.layer);
    if (graph::Weight* bias = stored.find_weight("bias")) bias->value = weights.layer.find_weight("bias")->value;
    return std::move(weights.layer);
  }

  void quantize_output(const graph::Layer& layer, LayerValues& value, QuantizedLayer& row) {
    const auto found = points_.find(layer.name);
    if (found == points_.end()) return;
    const ActivationPoint& point = found->second;
    row.output_bits = point.is_result ? std::max(o_.bit_width, o_.least_result_bits) : o_.bit_width;
    const Tensor& watched = observed_before_activation_ ? *observed_before_activation_ : value.real;
    const auto chosen = calibrate(layer, watched, row.output_bits);
    row.output_range = chosen.range;
    row.output_seen = chosen.seen;
    row.output_clipped = clipped_share(value.real.data(), chosen.range);
    const graph::AffineQuantizer quantizer{.kind = graph::AffineKind::kMovingAverage,
                                           .num_bits = row.output_bits,
                                           .ema_decay = o_.calibration.decay,
                                           .average_start = affine::AverageStart::kFirstBatch,
                                           .range = affine::usual_range_rule(row.output_bits)};  // if it trains on
    Tensor alone = value.real;
    fake_quantize(quantizer, chosen.range, alone);
    row.range_sqnr_db = sqnr_db(value.real.data(), alone.data());
    value.scale = fake_quantize(quantizer, chosen.range, value.quantized);
    row.output_sqnr_db = sqnr_db(value.real.data(), value.quantized.data());
    if (point.point == graph::kPreActivation) {
      quantization_.pre_activation = quantizer;
      value = {compute_(after_point_, {&value.real, 1}), compute_(after_point_, {&value.quantized, 1}), {}};
    } else {
      (point.point == graph::kOutput ? quantization_.output : quantization_.post_activation) = quantizer;
    }
    ranges_.emplace_back(point.point, std::vector<affine::Range>{chosen.range});
  }

  struct Chosen {
    affine::Range range, seen;
  };
  Chosen calibrate(const graph::Layer& layer, const Tensor& x, int bit_width) const {
    affine::CalibrationOptions options = o_.calibration;
    options.bit_width = bit_width;
    affine::Calibrator calibrator(options);
    const int64_t per_batch = x.size() / x.shape()[0] * o_.batch_size;
    try {
      for (int64_t begin = 0; begin < x.size(); begin += per_batch) {
        calibrator.observe(
            x.data().subspan(static_cast<size_t>(begin), static_cast<size_t>(std::min(per_batch, x.size() - begin))));
      }
      return {calibrator.range(), calibrator.seen()};
    } catch (const InvalidArgument& error) {
      throw InvalidArgument("[ptq] {}: {}", graph::described(layer), error.what());
    }
  }

  void store(const std::string& name) {
    if (ranges_.empty()) return;
    graph::set_quantization(result_.model, name, quantization_);
    for (const auto& [point, ranges] : ranges_) graph::store_ranges(result_.model.layer(name), point, ranges);
  }

  const Tensor& samples_;
  const PostTrainingOptions& o_;
  const LayerFunction& compute_;
  graph::Model float_model_;  // folded and equalized
  graph::Model deployed_;     // the same, but for the ablation of the fold
  std::map<std::string, ActivationPoint> points_;
  std::map<std::string, ChannelMoments> moments_;  // of folded layers
  std::optional<ExpectedValues> expected_;         // for the analytic correction
  PostTrainingResult result_;

  // Of the layer at hand.
  graph::LayerQuantization quantization_;
  std::vector<std::pair<std::string, std::vector<affine::Range>>> ranges_;  // by point
  std::optional<Tensor> observed_before_activation_;
  graph::Layer after_point_;  // the activation behind a pre_activation point
};

}  // namespace

PostTrainingResult quantize_after_training(const graph::Model& model, const Tensor& samples,
                                           const PostTrainingOptions& options, const LayerFunction& compute,
                                           const std::function<void(const std::string&, size_t)>& before_layer) {
  check(model, samples, options);
  return Run(model, samples, options, compute).run(before_layer);
}

}  // namespace nibble::ptq
