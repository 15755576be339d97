#include "nibble/train/process_sums.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <algorithm>

namespace nibble::train {
namespace {

std::span<double> doubles(const at::Tensor& t) { return {t.data_ptr<double>(), static_cast<size_t>(t.numel())}; }

struct SumOverNode : torch::autograd::Node {
  ProcessGroup* processes = nullptr;  // outlives the step
  int64_t channels = 0;

  torch::autograd::variable_list apply(torch::autograd::variable_list&& upstream) override {
    // Every process sums, whatever came back here: the others wait for it.
    at::Tensor both = at::zeros({2 * channels}, at::kDouble);
    for (int64_t i = 0; i < 2; ++i) {
      const at::Tensor& given = upstream[static_cast<size_t>(i)];
      if (given.defined()) both.narrow(0, i * channels, channels).copy_(given);
    }
    processes->sum(doubles(both));
    return {both.narrow(0, 0, channels).clone(), both.narrow(0, channels, channels).clone()};
  }
};

}  // namespace

ChannelSums sum_over(ProcessGroup& processes, const ChannelSums& sums, double& count) {
  const int64_t channels = sums.sum.numel();
  at::Tensor all = at::empty({2 * channels + 1}, at::kDouble);
  {
    const at::NoGradGuard no_gradient;
    all.narrow(0, 0, channels).copy_(sums.sum);
    all.narrow(0, channels, channels).copy_(sums.sum_of_squares);
    all.narrow(0, 2 * channels, 1).fill_(count);
    processes.sum(doubles(all));
  }
  count = all[2 * channels].item<double>();
  ChannelSums result{all.narrow(0, 0, channels).clone(), all.narrow(0, channels, channels).clone()};
  if (!at::GradMode::is_enabled() || !sums.sum.requires_grad()) return result;
  auto node = std::make_shared<SumOverNode>();
  node->processes = &processes;
  node->channels = channels;
  node->set_next_edges(torch::autograd::collect_next_edges(sums.sum, sums.sum_of_squares));
  torch::autograd::set_history(result.sum, node);
  torch::autograd::set_history(result.sum_of_squares, node);
  return result;
}

void sum_into_first(ProcessGroup& processes, const std::vector<at::Tensor>& gradients) {
  std::vector<double> all;
  for (const at::Tensor& gradient : gradients) {
    if (!gradient.defined()) continue;
    const std::span<double> own = doubles(gradient);
    all.insert(all.end(), own.begin(), own.end());
  }
  processes.sum(all);
  if (!processes.is_first()) std::fill(all.begin(), all.end(), 0.0);
  const double* next = all.data();
  for (const at::Tensor& gradient : gradients) {
    if (!gradient.defined()) continue;
    std::copy(next, next + gradient.numel(), gradient.data_ptr<double>());
    next += gradient.numel();
  }
}

}  // namespace nibble::train
