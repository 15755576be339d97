// The points of a network that are quantized affinely, and the sums of their codes in inference.
#include <algorithm>

#include "nibble/core/error.h"
#include "nibble/graph/quantization_variables.h"
#include "nibble/quant/affine/common_grid.h"
#include "nibble/quant/affine/sum_quantizer.h"
#include "nibble/train/network_run.h"

namespace nibble::train {

at::Tensor Network::Run::quantize_point(int index, std::string_view name, const at::Tensor& x) {
  const graph::Layer& description = network.running(index);
  const auto point = graph::quantized_point(description, name);
  if (!point) return x;
  require_one_process(index, *point);
  PointMode mode = point_mode(index, *point);
  const uint32_t place = name == graph::kPreActivation ? 0u : name == graph::kPostActivation ? 1u : 2u;
  mode.random = quantize_options(index, kGradientRole + place).random;
  return train::quantize_point(description, *point, layer(index), x, mode);
}

at::Tensor Network::Run::fake_quant(const Step& step) {
  const Flow& x = input(step);
  const graph::Layer& description = network.running(step.layer);
  const auto point = graph::quantized_point(description, step.point);
  const PointMode mode = point ? point_mode(step.layer, *point) : PointMode{};
  if (x.sum_scales.empty() || !point || mode.observes || !mode.applies) {
    return quantize_point(step.layer, step.point, x.value);
  }
  const auto grid = code_grid(*point, layer(step.layer));
  const auto sums = grid ? affine::SumQuantizer::make(x.sum_scales, *grid) : std::nullopt;
  if (!sums) return quantize_point(step.layer, step.point, x.value);
  const at::Tensor values = x.value.contiguous();
  at::Tensor result = at::empty_like(values);
  const auto count = static_cast<size_t>(values.numel());
  sums->quantize({values.data_ptr<float>(), count}, {result.data_ptr<float>(), count});
  return result;
}

namespace {

bool has_moved(const graph::QuantizedPoint& point, LayerRuntime& runtime) {
  const graph::AffineKind kind = point.quantizer.kind;
  const char* suffix = graph::has_minmax(kind) ? "min" : kind == graph::AffineKind::kPact ? "alpha" : "step";
  if (!graph::has_minmax(kind) && !graph::is_learned(kind)) return false;
  return runtime.find(fmt::format("{}_{}", point.name, suffix)) != nullptr && !stands_at_start(point, runtime);
}

}  // namespace

// Before any moves in this pass: the first training step moves all that comes before a frozen layer.
void Network::Run::look_for_moved_ranges() {
  const auto& layers = network.structure().layers;
  const bool any_frozen = std::any_of(layers.begin(), layers.end(), [](const auto& layer) { return !layer.trainable; });
  const bool may_move = network.phase_.ranges_move && (pass != Pass::kInference || network.settles_);
  if (!any_frozen || !may_move) return;
  for (int i = 0; i < static_cast<int>(layers.size()); ++i) {
    for (const graph::QuantizedPoint& point : graph::quantized_points(network.running(i))) {
      bool& had_moved = point.is_weight ? had_moved_weights : had_moved_activations;
      had_moved = had_moved || has_moved(point, layer(i));
    }
  }
}

// As graph::require_calibrated: a tracker at [-6, 6] may have come there again, and has where others of its sort moved.
bool Network::Run::may_have_been_seen(const graph::QuantizedPoint& point) const {
  const graph::AffineKind kind = point.quantizer.kind;
  if (!graph::has_minmax(kind) || kind == graph::AffineKind::kAllValues) return false;
  return point.is_weight ? had_moved_weights : had_moved_activations;
}

PointMode Network::Run::point_mode(int index, const graph::QuantizedPoint& point) {
  // Weights that stand in for the trained ones, as their mean does, have ranges of their own.
  const bool is_measured_anew = (pass == Pass::kReestimation || network.settles_) && point.is_weight &&
                                point.quantizer.kind == graph::AffineKind::kLastValue;
  const bool moves = network.phase_.ranges_move && (is_training() || is_measured_anew);
  const bool is_trainable = network.running(index).trainable;
  // What a frozen layer has no range for is found once, and then stays.
  const bool finds = moves && !is_trainable && !network.calibrates_ && stands_at_start(point, layer(index)) &&
                     !may_have_been_seen(point);
  return {.observes = network.calibrates_ || finds || (moves && is_trainable),
          .applies = network.phase_.applies,
          .observes_once = finds};
}

void Network::settle_folded_ranges(const at::Tensor& x) {
  const auto& layers = model_.layers;
  const bool any = std::any_of(layers.begin(), layers.end(), [](const graph::Layer& layer) {
    return layer.quantization && layer.class_name.ends_with("Batchnorm");
  });
  if (!any || !phase_.ranges_move) return;
  struct Settling {
    bool& is_on;
    ~Settling() { is_on = false; }
  } const settling{settles_ = true};
  forward(x, Pass::kInference, 0, false);
}

// Weights are the same everywhere; of activations each process sees its share only.
void Network::Run::require_one_process(int index, const graph::QuantizedPoint& point) {
  const bool is_alone = network.processes_ == nullptr || network.processes_->size() == 1;
  if (is_alone || point.is_weight || !point_mode(index, point).observes) return;
  throw Unsupported(
      "[train] layer '{}': the range of '{}' follows the batches, which several processes share. Train such a model in "
      "one process, or freeze the ranges.",
      network.running(index).name, point.name);
}

float Network::Run::codes_of_point(int point) {
  if (point < 0 || !network.phase_.applies) return 0.0f;
  const Step& source = network.plan_.steps[static_cast<size_t>(point)];
  const auto steps =
      point_steps(*graph::quantized_point(network.running(source.layer), source.point), layer(source.layer));
  return steps.size() == 1 ? steps[0] : 0.0f;
}

float Network::Run::input_codes(const Step& step) { return codes_of_point(step.input_point); }

bool Network::Run::sums_codes() const { return pass == Pass::kInference && !at::GradMode::is_enabled(); }

std::optional<Flow> Network::Run::sum_of_codes(const Step& step) {
  if (step.input_points.empty() || !sums_codes()) return std::nullopt;
  std::vector<float> steps;
  for (const int point : step.input_points) {
    const Step& source = network.plan_.steps[static_cast<size_t>(point)];
    const auto quantizer = graph::quantized_point(network.running(source.layer), source.point)->quantizer;
    steps.push_back(quantizer.num_bits <= affine::kMostBitsOfAdd ? codes_of_point(point) : 0.0f);
  }
  if (!std::all_of(steps.begin(), steps.end(), [](float s) { return s > 0.0f; })) return std::nullopt;
  std::vector<at::Tensor> inputs;
  for (size_t i = 0; i < step.inputs.size(); ++i) inputs.push_back(input(step, i).value);
  return Flow{exact_add(inputs, steps), {}, {}, nullptr, {static_cast<double>(affine::common_grid(steps).step)}};
}

std::optional<Flow> Network::Run::average_of_codes(const Step& step) {
  const bool is_average = step.kind == StepKind::kAveragePool || step.kind == StepKind::kGlobalAveragePool;
  const float codes = is_average && sums_codes() ? input_codes(step) : 0.0f;
  if (codes == 0.0f) return std::nullopt;
  const at::Tensor& x = input(step).value;
  Flow average{exact_average(x, step, codes), {}, {}, nullptr};
  if (const int64_t cells = cells_of_average(x, step); cells != 0) {
    average.sum_scales = {static_cast<double>(codes) / static_cast<double>(cells)};
  }
  return average;
}

namespace {

// The steps of a kernel, one for each channel of the output; none where terms of one sum have different steps.
std::vector<float> by_output_channel(const std::vector<float>& steps, const affine::ChannelLayout& layout,
                                     const graph::Layer& description, const Shape& kernel) {
  // (..., out); (h, w, in, multiplier) with out = in * multiplier; transposed (h, w, out, in)
  const bool is_depthwise = description.find_weight("depthwise_kernel") != nullptr;
  const int64_t inner = description.class_name == "Conv2DTranspose" ? kernel[-1] : 1;
  const int64_t out = is_depthwise ? kernel[-2] * kernel[-1] : inner > 1 ? kernel[-2] : kernel[-1];
  const bool repeats = layout.inner % inner == 0 && out % (layout.inner / inner * layout.channels) == 0;
  std::vector<float> result;
  for (int64_t c = 0; repeats && c < out; ++c) result.push_back(steps[static_cast<size_t>(layout.channel(c * inner))]);
  return result;
}

}  // namespace

std::vector<float> Network::Run::kernel_codes(int index, std::string_view kernel) {
  const graph::Layer& description = network.running(index);
  const auto point = graph::quantized_point(description, kernel);
  if (!point || !network.phase_.applies) return {};
  const std::vector<float> steps = point_steps(*point, layer(index));
  if (steps.size() <= 1) return steps;
  const Shape shape(layer(index).find(kernel)->value.sizes().vec());
  return by_output_channel(steps, graph::point_layout(description, *point, shape), description, shape);
}

at::Tensor Network::Run::bias(const Step& step, std::string_view kernel) {
  const at::Tensor bias = weight(step.layer, "bias");
  const graph::Layer& description = network.running(step.layer);
  const int bits = description.quantization ? description.quantization->bias_bits : 0;
  if (!bias.defined() || bits == 0) return bias;
  const float input_step = input_codes(step);
  const std::vector<float> kernel_steps = kernel_codes(step.layer, kernel);
  return input_step == 0.0f || kernel_steps.empty() ? bias : bias_on_grid(bias, input_step, kernel_steps, bits);
}

std::optional<SumGrid> Network::Run::sum_grid(const Step& step, std::string_view kernel) {
  if (!sums_codes()) return std::nullopt;
  SumGrid grid{input_codes(step), kernel_codes(step.layer, kernel), {}, weight(step.layer, "bias")};
  if (grid.input_step == 0.0f || grid.weight_steps.empty()) return std::nullopt;
  const graph::Layer& description = network.running(step.layer);
  const int bits = description.quantization->bias_bits;
  if (grid.bias.defined() && bits != 0) {
    BiasGrid bias = bias_codes(grid.bias, grid.input_step, grid.weight_steps, bits);
    network.saturated_biases_.erase(description.name);
    if (bias.saturated > 0) network.saturated_biases_[description.name] = bias.saturated;
    if (!bias.codes.empty()) grid.bias = at::Tensor();
    grid.bias_codes = std::move(bias.codes);
  }
  return grid;
}

}  // namespace nibble::train
