// [prologue -> convolution -> 2x2 max pool -> batch moments], forward and backward, slice by slice.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include "nibble/kernels/max_pool_2x2.h"
#include "nibble/train/fused_ops.h"
#include "nibble/train/process_sums.h"
#include "nibble/train/prologue_node.h"

namespace nibble::train {
namespace {

enum Scratch { kActivated, kUnpooled, kFinished };

float* floats(const at::Tensor& t) { return t.data_ptr<float>(); }
double* doubles(const at::Tensor& t) { return t.data_ptr<double>(); }
at::Tensor zeros(at::IntArrayRef extents) { return at::zeros(extents, at::kDouble); }

int thread_count() { return at::get_num_threads(); }

// What came back through the batch moments, for dy = upstream + y * scale_y + constant
// (d sum / dy = 1, d sum_of_squares / dy = 2 y).
struct MomentsGradient {
  std::vector<float> scale_y, constant;
  bool is_zero = true;

  MomentsGradient(const torch::autograd::variable_list& upstream, int64_t channels)
      : scale_y(static_cast<size_t>(channels), 0.0f), constant(scale_y) {
    if (upstream.size() < 3) return;
    for (size_t c = 0; c < scale_y.size(); ++c) {
      if (upstream[1].defined()) constant[c] = static_cast<float>(doubles(upstream[1])[c]);
      if (upstream[2].defined()) scale_y[c] = static_cast<float>(2.0 * doubles(upstream[2])[c]);
    }
    is_zero = !upstream[1].defined() && !upstream[2].defined();
  }
};

// Everything the backward pass needs. Saved tensors are detached, so that no cycle arises.
struct FusedConvolutionNode : torch::autograd::Node {
  ConvolutionMachine* machine = nullptr;  // owned by the network, which outlives its steps
  at::Tensor x, weights, y;
  std::shared_ptr<const BoundPrologue> prologue;  // null: none
  std::shared_ptr<std::vector<uint8_t>> mask;
  std::vector<uint8_t> argmax;
  std::shared_ptr<Junction> reads_from;  // the producer of x finishes our prologue
  std::shared_ptr<Junction> read_by;     // we finish our reader's prologue
  bool x_needs_gradient = false, weights_need_gradient = false, has_bias = false;
  bool prologue_needs_gradient = false;  // its multiplier or offset
  ProcessGroup* processes = nullptr;     // that share the batch; it outlives the step

  torch::autograd::variable_list apply(torch::autograd::variable_list&& upstream) override;

  void release_variables() override {
    x.reset();
    weights.reset();
    y.reset();
    mask.reset();
    argmax = {};
    reads_from.reset();
    read_by.reset();
  }

 private:
  using Workspace = ConvolutionMachine::Workspace;
  const float* gradient_before_moments(Workspace& workspace, const float* upstream, int64_t first, int64_t samples,
                                       const MomentsGradient& moments) const;
  const float* gradient_before_pool(Workspace& workspace, const float* gradient, int64_t first, int64_t samples) const;
  const float* activated_input(Workspace& workspace, int64_t first, int64_t samples) const;
};

// The gradient with respect to the raw output: the reader's prologue if that is left to us, and the moments.
const float* FusedConvolutionNode::gradient_before_moments(Workspace& workspace, const float* upstream, int64_t first,
                                                           int64_t samples, const MomentsGradient& moments) const {
  const int64_t at = first * machine->out_elements();
  const bool pending = read_by != nullptr && read_by->prologue != nullptr;
  if (!pending && moments.is_zero) return upstream + at;
  float* result = workspace.scratch(kFinished, samples * machine->out_elements());
  if (pending) {
    read_by->prologue->gradient(upstream + at, floats(y) + at, read_by->mask->data(), result, first, samples,
                                moments.scale_y.data(), moments.constant.data());
    return result;
  }
  const auto channels = static_cast<int64_t>(moments.scale_y.size());
  const float* raw = floats(y) + at;
  for (int64_t i = 0; i < samples * machine->out_elements(); i += channels) {
    for (int64_t c = 0; c < channels; ++c) {
      const auto channel = static_cast<size_t>(c);
      result[i + c] = upstream[at + i + c] + raw[i + c] * moments.scale_y[channel] + moments.constant[channel];
    }
  }
  return result;
}

const float* FusedConvolutionNode::gradient_before_pool(Workspace& workspace, const float* gradient, int64_t first,
                                                        int64_t samples) const {
  if (!machine->pools()) return gradient;
  const ConvolutionGeometry& g = machine->geometry();
  float* result = workspace.scratch(kUnpooled, samples * g.out_elements());
  kernels::max_pool_2x2_gradient(gradient, argmax.data() + first * machine->out_elements(), result, samples,
                                 g.out_height, g.out_width, g.out_channels);
  return result;
}

// What the convolution saw, computed again: cheaper than keeping it.
const float* FusedConvolutionNode::activated_input(Workspace& workspace, int64_t first, int64_t samples) const {
  const int64_t elements = machine->geometry().in_elements();
  const float* input = floats(x) + first * elements;
  if (prologue == nullptr) return input;
  float* result = workspace.scratch(kActivated, samples * elements);
  prologue->forward(input, result, nullptr, first, samples);
  return result;
}

torch::autograd::variable_list FusedConvolutionNode::apply(torch::autograd::variable_list&& upstream_list) {
  const ConvolutionGeometry& g = machine->geometry();
  const int64_t batch = x.size(0);
  const at::Tensor upstream = upstream_list[0].defined() ? upstream_list[0].contiguous() : at::zeros_like(y);
  const MomentsGradient moments(upstream_list, g.out_channels);
  const bool needs_dx = x_needs_gradient || prologue_needs_gradient;
  const bool sums = prologue_needs_gradient;
  at::Tensor dx = needs_dx ? at::empty_like(x) : at::Tensor();
  at::Tensor sum_h, sum_hx, dweights, dbias;
  if (sums) sum_h = zeros({g.in_channels}), sum_hx = zeros({g.in_channels});
  if (weights_need_gradient) dweights = zeros(weights.sizes());
  if (weights_need_gradient && has_bias) dbias = zeros({g.out_channels});
  const int threads = thread_count();
  machine->prepare(threads, batch, true, [&](Convolution& convolution) {
    if (needs_dx) convolution.set_weights_for_gradient(floats(weights));
  });
  const auto compute = [&](Workspace& workspace, int64_t first, int64_t samples) {
    Convolution& convolution = workspace.for_samples(samples);
    const float* gradient = gradient_before_moments(workspace, floats(upstream), first, samples, moments);
    gradient = gradient_before_pool(workspace, gradient, first, samples);
    if (weights_need_gradient) convolution.gradient_weights(activated_input(workspace, first, samples), gradient);
    if (!needs_dx) return;
    float* dx_slice = floats(dx) + first * g.in_elements();
    convolution.gradient_input(gradient, dx_slice);
    if (!sums) return;
    workspace.sums.start(g.in_channels);
    prologue->gradient_sums(dx_slice, floats(x) + first * g.in_elements(), mask->data(), first, samples,
                            workspace.sums.first.data(), workspace.sums.second.data());
  };
  machine->for_each_slice(threads, batch, compute, [&](Workspace& workspace, int64_t samples) {
    if (weights_need_gradient) machine->gradient_sums(samples).add_slice(workspace.for_samples(samples));
    if (sums) workspace.sums.add_to(sum_h, sum_hx);
  });
  if (weights_need_gradient) {
    machine->move_gradient_sums(batch, doubles(dweights), has_bias ? doubles(dbias) : nullptr);
  }
  if (processes != nullptr) sum_into_first(*processes, {dweights, dbias, sum_hx, sum_h});
  for (at::Tensor* gradient : {&dweights, &dbias}) {
    if (gradient->defined()) *gradient = gradient->to(at::kFloat);
  }
  if (!x_needs_gradient) return {at::Tensor(), dweights, dbias, sum_hx, sum_h};
  if (prologue != nullptr && reads_from == nullptr) {
    const std::vector<float> zeros(static_cast<size_t>(g.in_channels), 0.0f);
    prologue->gradient(floats(dx), floats(x), mask->data(), floats(dx), 0, batch, zeros.data(), zeros.data());
  }
  return {dx, dweights, dbias, sum_hx, sum_h};
}

// Runs the forward pass slice by slice into `result`.
void run_forward(FusedConvolutionNode& node, const at::Tensor& bias, bool needs_gradient, Flow& result) {
  ConvolutionMachine& machine = *node.machine;
  const ConvolutionGeometry& g = machine.geometry();
  const int64_t batch = node.x.size(0);
  const int threads = thread_count();
  machine.prepare(threads, batch, needs_gradient, [&](Convolution& convolution) {
    convolution.set_weights(floats(node.weights), bias.defined() ? floats(bias) : nullptr);
  });
  const auto compute = [&](ConvolutionMachine::Workspace& workspace, int64_t first, int64_t samples) {
    const float* source = floats(node.x) + first * g.in_elements();
    if (node.prologue != nullptr) {
      float* activated = workspace.scratch(kActivated, samples * g.in_elements());
      node.prologue->forward(source, activated, node.mask ? node.mask->data() : nullptr, first, samples);
      source = activated;
    }
    float* target = floats(result.value) + first * machine.out_elements();
    float* convolved = machine.pools() ? workspace.scratch(kUnpooled, samples * g.out_elements()) : target;
    workspace.for_samples(samples).forward(source, convolved);
    if (machine.pools()) {
      uint8_t* argmax = needs_gradient ? node.argmax.data() + first * machine.out_elements() : nullptr;
      kernels::max_pool_2x2_forward(convolved, target, argmax, samples, g.out_height, g.out_width, g.out_channels);
    }
    if (!result.sum.defined()) return;
    workspace.sums.start(g.out_channels);
    kernels::channel_moments(target, samples * machine.out_elements() / g.out_channels, g.out_channels,
                             workspace.sums.first.data(), workspace.sums.second.data());
  };
  machine.for_each_slice(threads, batch, compute, [&](ConvolutionMachine::Workspace& workspace, int64_t) {
    if (result.sum.defined()) workspace.sums.add_to(result.sum, result.sum_of_squares);
  });
}

}  // namespace

Flow fused_convolution(ConvolutionMachine& machine, const Flow& x, const PrologueInputs* prologue,
                       const at::Tensor& weights, const at::Tensor& bias, const ConvolutionResultUse& use,
                       ProcessGroup* processes) {
  const ConvolutionGeometry& g = machine.geometry();
  const at::Tensor input = x.value.contiguous();
  const int64_t batch = input.size(0);
  const bool needs_gradient = at::GradMode::is_enabled();

  auto node = std::make_shared<FusedConvolutionNode>();
  node->machine = &machine;
  node->processes = processes;
  node->x = input.detach();
  node->weights = weights.detach().contiguous();
  node->has_bias = bias.defined();
  const at::Tensor bias_values = bias.defined() ? bias.detach().contiguous() : at::Tensor();
  if (prologue != nullptr) {
    node->prologue = bind_prologue(*prologue, g.in_elements());
    if (needs_gradient) node->mask = std::make_shared<std::vector<uint8_t>>(node->prologue->mask_size(batch));
    if (x.junction != nullptr && needs_gradient) {
      x.junction->prologue = node->prologue;
      x.junction->mask = node->mask;
      node->reads_from = x.junction;
    }
  }

  Flow result;
  result.value = at::empty({batch, machine.out_height(), machine.out_width(), g.out_channels}, at::kFloat);
  if (use.gives_moments) {
    result.sum = at::zeros({g.out_channels}, at::kDouble);
    result.sum_of_squares = at::zeros({g.out_channels}, at::kDouble);
  }
  if (machine.pools() && needs_gradient) {
    node->argmax.resize(static_cast<size_t>(batch * machine.out_elements()));
  }
  run_forward(*node, bias_values, needs_gradient, result);
  if (!needs_gradient) return result;

  node->y = result.value.detach();
  node->x_needs_gradient = input.requires_grad();
  node->prologue_needs_gradient =
      prologue != nullptr && (prologue->multiplier.requires_grad() || prologue->offset.requires_grad());
  node->weights_need_gradient = weights.requires_grad() || (bias.defined() && bias.requires_grad());
  if (use.gradient_is_pending) {
    result.junction = std::make_shared<Junction>();
    node->read_by = result.junction;
  }
  node->set_next_edges(torch::autograd::collect_next_edges(input, weights, bias,
                                                           prologue != nullptr ? prologue->multiplier : at::Tensor(),
                                                           prologue != nullptr ? prologue->offset : at::Tensor()));
  torch::autograd::set_history(result.value, node);
  if (use.gives_moments) {
    torch::autograd::set_history(result.sum, node);
    torch::autograd::set_history(result.sum_of_squares, node);
  }
  return result;
}

}  // namespace nibble::train
