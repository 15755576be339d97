// nibble/train/network_run.h
// One forward pass of a network. network.cc has what steps compute, network_codes.cc what affine quantizers add to it.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/train/affine_points.h"
#include "nibble/train/exact_sums.h"
#include "nibble/train/layer_runtime.h"
#include "nibble/train/network.h"
#include "nibble/train/process_group.h"

namespace nibble::train {

inline bool is_convolution(const graph::Layer& layer) { return layer.class_name.find("Conv") != std::string::npos; }

// One forward pass: the values of the steps so far.
struct Network::Run {
  Network& network;
  Pass pass;
  uint32_t step_number;
  std::vector<Flow> flows;
  // Ranges of activations, of weights: some had moved before this pass.
  bool had_moved_activations = false, had_moved_weights = false;

  bool is_training() const { return pass == Pass::kTraining; }
  const Flow& input(const Step& step, size_t i = 0) const { return flows[static_cast<size_t>(step.inputs[i])]; }
  LayerRuntime& layer(int index) { return network.layers_[static_cast<size_t>(index)]; }

  quant::QuantizeOptions quantize_options(int layer, uint32_t role) const {
    quant::QuantizeOptions options;
    options.phase = is_training() ? quant::Phase::kTraining : quant::Phase::kInference;
    options.random = {network.seed_, RandomPurpose::kQuantizer, static_cast<uint32_t>(layer) * kRolesPerLayer + role,
                      step_number};
    return options;
  }

  // Of a random layer or activation: each process draws its own.
  uint32_t own_step() const {
    if (network.processes_ == nullptr) return step_number;
    return step_number * static_cast<uint32_t>(network.processes_->size()) +
           static_cast<uint32_t>(network.processes_->rank());
  }

  int64_t first_unit() const { return network.first_sample_ / kUnitSamples; }

  // The weight as the layer uses it, or undefined if the layer has none of that name.
  at::Tensor weight(int index, std::string_view name) {
    LayerWeight* found = layer(index).find(name);
    if (found == nullptr) return {};
    at::Tensor value = found->value;
    if (found->quantizer != nullptr) {
      value = quantize(value, found->quantizer, quantize_options(index, found->role),
                       network.fused_ ? found->fast.get() : nullptr);
    }
    if (found->mask.defined()) value = value * found->mask;
    const at::Tensor used = quantize_point(index, name, value);
    if (network.phase_.overwrites_convolutions && is_training() && is_convolution(network.running(index))) {
      const at::NoGradGuard no_gradient;
      found->value.variable_data().copy_(used);  // the gradient's graph is not to know
    }
    return used;
  }

  // x through the layer's affine quantizer at that point, or x itself where there is none.
  at::Tensor quantize_point(int index, std::string_view name, const at::Tensor& x);
  void look_for_moved_ranges();
  bool may_have_been_seen(const graph::QuantizedPoint& point) const;
  PointMode point_mode(int index, const graph::QuantizedPoint& point);
  void require_one_process(int index, const graph::QuantizedPoint& point);
  // Steps between the codes of the step's input, if they are one for all; 0: its values are no codes.
  float input_codes(const Step& step);
  float codes_of_point(int point);
  // No gradient is wanted: sums of codes are then as the integer program has them (exact_sums.h).
  bool sums_codes() const;
  // An Add's sum, or an average, of codes; nothing unless all its inputs are codes of one step each.
  std::optional<Flow> sum_of_codes(const Step& step);
  std::optional<Flow> average_of_codes(const Step& step);
  // Steps between the codes of a kernel; empty: its values are no codes.
  std::vector<float> kernel_codes(int index, std::string_view kernel);
  // The layer's bias as it adds it: on the grid of its accumulators, where it has one.
  at::Tensor bias(const Step& step, std::string_view kernel);
  // Where sums_codes(), and input and kernel are codes.
  std::optional<SumGrid> sum_grid(const Step& step, std::string_view kernel);

  // A kFakeQuant step. Sums become codes as in the integer program (quant/affine/sum_quantizer.h).
  at::Tensor fake_quant(const Step& step);

  RandomKey dropout_key(int index) const {
    return {network.seed_, RandomPurpose::kDropout, static_cast<uint32_t>(index), step_number};
  }

  BatchStatistics batch_norm_statistics(int index, const Flow& x);
  PrologueInputs prologue_inputs(const Prologue& prologue, const Flow& x);
  Flow convolution(size_t index);
  at::Tensor batch_norm(const Step& step);
  Flow dense(size_t index);
  at::Tensor activation(const Step& step);
  Flow layer_op(const Step& step);
  Flow compute(size_t index);
};

}  // namespace nibble::train
