// bench/quantizers.cc
// Times forward and backward pass of each hot quantizer against the same quantizer composed of torch operations, one
// thread, 4096 x 256 elements, and against copying the bytes that it has to move.
//
// Before timing the two results are compared; drawn ones by their mean. Times are processor time. Ratios are the median
// of each round's own, since machines are shared and memory is quicker at one moment than at the next.
//
//   quantizers [--rounds 31]
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <memory>
#include <vector>

#include "nibble/kernels/affine_activation.h"
#include "nibble/kernels/weight_quantizer.h"

namespace {

using nibble::kernels::ActivationSpec;

constexpr int64_t kRows = 4096, kChannels = 256, kElements = kRows * kChannels;
constexpr float kEpsilon = 1e-7f;
constexpr int64_t kRowAxis[] = {0};

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// ---- the quantizers as tensor operations ------------------------------------

at::Tensor straight_through(const at::Tensor& path, const at::Tensor& value) { return path + (value - path).detach(); }

at::Tensor power_of_two(const at::Tensor& s) { return at::exp2(at::round(at::log2(s + kEpsilon))); }

// quantized_relu(4,2)
at::Tensor relu(const at::Tensor& x) {
  const at::Tensor path = at::clamp_max(at::relu(x), 3.75);
  return straight_through(path, 4.0 * at::clamp(at::round(x * 4.0) / 16.0, 0.0, 0.9375));
}

// quantized_relu_po2(4,4)
at::Tensor relu_po2(const at::Tensor& x) {
  const at::Tensor path = at::clamp_max(at::relu(x), 4.0);
  const at::Tensor exponent = at::clamp(at::round(at::log2(at::clamp_min(path, kEpsilon))), -8.0, 7.0);
  return straight_through(path, at::exp2(exponent));
}

// quantized_bits(4,0,1,alpha=1.0)
at::Tensor bits(const at::Tensor& x) { return straight_through(x, at::clamp(at::round(x * 8.0), -7.0, 7.0) / 8.0); }

// quantized_linear(4,0,1,alpha=1.0)
at::Tensor linear(const at::Tensor& x) {
  const at::Tensor codes = at::clamp(x * 8.0, -7.0, 7.0);
  return straight_through(codes, at::round(codes)) / 8.0;
}

at::Tensor signs(const at::Tensor& x) { return at::where(x >= 0, at::ones_like(x), -at::ones_like(x)); }

at::Tensor binary(const at::Tensor& x) { return straight_through(at::tanh(x), signs(x)); }

at::Tensor ternary(const at::Tensor& x) {
  return straight_through(at::tanh(x), at::sign(x) * (at::abs(x) >= 0.33f).to(at::kFloat));
}

at::Tensor largest(const at::Tensor& x) { return at::amax(at::abs(x), {0}, /*keepdim=*/true); }

// quantized_bits(4,0,1,alpha='auto')
at::Tensor fit_codes(const at::Tensor& x, const at::Tensor& step) {
  return at::sign(x) * at::clamp_max(at::floor(at::abs(x) / step + 0.5), 7.0);
}
at::Tensor bits_auto(const at::Tensor& x) {
  const at::Tensor step = (largest(x) * 2.0 / 14.0).detach();
  return straight_through(x, step * fit_codes(x, step));
}

at::Tensor fit_step(const at::Tensor& x, const at::Tensor& codes) {
  return at::mean(x * codes, {0}, true) / (at::mean(codes * codes, {0}, true) + kEpsilon);
}

// quantized_bits(4,0,1,alpha='auto_po2')
at::Tensor bits_auto_po2(const at::Tensor& x) {
  const at::Tensor w = x.detach();
  at::Tensor step = power_of_two(largest(w) * 2.0 / 14.0);
  for (int i = 0; i < 5; ++i) step = power_of_two(fit_step(w, fit_codes(w, step)));
  return straight_through(x, step * fit_codes(w, step));
}

at::Tensor binary_auto_po2(const at::Tensor& x) {
  const at::Tensor w = x.detach(), codes = signs(w);
  return straight_through(x, power_of_two(fit_step(w, codes)) * codes);
}

at::Tensor ternary_auto_po2(const at::Tensor& x) {
  const at::Tensor w = x.detach();
  at::Tensor step = power_of_two(2.0 * largest(w) / 3.0), codes;
  for (int i = 0; i < 5; ++i) {
    codes = at::sign(w) * (at::abs(at::round(w / step)) >= 0.5).to(at::kFloat);
    step = power_of_two(fit_step(w, codes));
  }
  return straight_through(x, step * codes);
}

at::Tensor draw_signs(const at::Tensor& logits) {
  return at::where(at::rand_like(logits) < at::sigmoid(logits), at::ones_like(logits), -at::ones_like(logits));
}

at::Tensor deviation(const at::Tensor& w) {
  return at::std(w, at::IntArrayRef(kRowAxis), /*unbiased=*/false, /*keepdim=*/true) + kEpsilon;
}

at::Tensor stochastic_binary_auto_po2(const at::Tensor& x) {
  const at::Tensor w = x.detach();
  return straight_through(x, power_of_two(fit_step(w, signs(w))) * draw_signs(6.0 * w / deviation(w)));
}

at::Tensor stochastic_ternary_auto_po2(const at::Tensor& x) {
  const at::Tensor w = x.detach();
  at::Tensor step = power_of_two(2.0 * largest(w) / 3.0);
  for (int i = 0; i < 5; ++i) {
    step = power_of_two(fit_step(w, at::sign(w) * (at::abs(w) >= step / 2.0).to(at::kFloat)));
  }
  const at::Tensor spread = deviation(w), normal = w / spread, threshold = step / (2.0 * spread);
  const at::Tensor codes = (draw_signs(8.0 * (normal - threshold)) + draw_signs(8.0 * (normal + threshold))) / 2.0;
  return straight_through(x, step * codes);
}

// quantized_po2(4)
at::Tensor po2(const at::Tensor& x) {
  const at::Tensor exponent = at::clamp(at::round(at::log2(at::clamp_min(at::abs(x), kEpsilon))), -4.0, 3.0);
  return straight_through(x, signs(x) * at::exp2(exponent));
}

// ---- a row of the table ------------------------------------------------------

struct Row {
  const char* text;
  bool is_activation;
  int copies;  // passes over the data in terms of copies of it, where memory is the limit; else 0
  at::Tensor (*composed)(const at::Tensor& x);
};

// Forward reads x and writes y (1 copy); backward reads the upstream gradient and writes its own (1 copy), unless that
// is the upstream itself.
const Row kTable[] = {
    {"quantized_relu(4,2)", true, 2, relu},
    {"quantized_relu_po2(4,4)", true, 2, relu_po2},
    {"quantized_bits(4,0,1,alpha=1.0)", true, 1, bits},
    {"quantized_linear(4,0,1,alpha=1.0)", true, 2, linear},
    {"binary()", true, 0, binary},
    {"ternary()", true, 0, ternary},
    {"quantized_bits(4,0,1,alpha='auto')", false, 0, bits_auto},
    {"quantized_bits(4,0,1,alpha='auto_po2')", false, 0, bits_auto_po2},
    {"ternary(alpha='auto_po2')", false, 0, ternary_auto_po2},
    {"binary(alpha='auto_po2')", false, 0, binary_auto_po2},
    {"stochastic_binary(alpha='auto_po2')", false, 0, stochastic_binary_auto_po2},
    {"stochastic_ternary(alpha='auto_po2')", false, 0, stochastic_ternary_auto_po2},
    {"quantized_po2(4)", false, 0, po2},
};

struct Buffers {
  at::Tensor x, upstream, y, dx;
  std::vector<uint8_t> mask;
};

// Forward and backward pass of nibble. dx is what the next layer would read.
std::function<const float*()> passes(const Row& row, Buffers& b) {
  const auto quantizer = nibble::quant::get_quantizer(row.text);
  const float* x = b.x.data_ptr<float>();
  const float* upstream = b.upstream.data_ptr<float>();
  float *y = b.y.data_ptr<float>(), *dx = b.dx.data_ptr<float>();
  if (row.is_activation) {
    const ActivationSpec spec = *nibble::kernels::activation_spec(*quantizer);
    const bool has_unit_gradient =
        nibble::kernels::WeightQuantizer(quantizer).has_unit_gradient(nibble::quant::Phase::kTraining);
    return [=, &b, ones = std::vector<float>(kChannels, 1.0f),
            zeros = std::vector<float>(kChannels, 0.0f)]() -> const float* {
      uint8_t* mask = has_unit_gradient ? nullptr : b.mask.data();
      nibble::kernels::affine_activation_forward(x, y, mask, kRows, kChannels, ones.data(), zeros.data(), spec, {});
      if (has_unit_gradient) return upstream;
      nibble::kernels::affine_activation_gradient(upstream, x, mask, dx, kRows, kChannels, ones.data(), zeros.data(),
                                                  spec, 0.0f, ones.data(), zeros.data(), zeros.data());
      return dx;
    };
  }
  const auto fast = std::make_shared<nibble::kernels::WeightQuantizer>(quantizer);
  return [=]() -> const float* {
    const nibble::quant::QuantizeOptions training{.phase = nibble::quant::Phase::kTraining};
    fast->quantize(x, {kRows, kChannels}, training, y);
    if (fast->has_unit_gradient(training.phase)) return upstream;
    fast->gradient(x, upstream, {kRows, kChannels}, training, dx);
    return static_cast<const float*>(dx);
  };
}

// Forward and backward pass of torch; y is left in `y`.
at::Tensor composed_gradient(const Row& row, const Buffers& b, at::Tensor* y) {
  const at::Tensor x = b.x.detach().requires_grad_(true);
  at::Tensor value = row.composed(x);
  value.backward(b.upstream);
  if (y != nullptr) *y = value.detach();
  return x.grad();
}

[[noreturn]] void refuse(const Row& row, const char* what, double share) {
  std::fprintf(stderr, "%s: %s differ in %.3g of the elements; no time is worth measuring\n", row.text, what, share);
  std::exit(1);
}

double share_of_different(const at::Tensor& a, const at::Tensor& b) {
  return (at::abs(a - b) > 2e-6f * (1.0f + at::abs(b))).to(at::kDouble).mean().item<double>();
}

// One element in ten thousand may fall to the other side of a tie, since steps are fitted from sums in another order.
void require_same(const Row& row, Buffers& b) {
  constexpr double kStray = 1e-4;
  at::Tensor y;
  const at::Tensor theirs = composed_gradient(row, b, &y);
  const float* dx = passes(row, b)();
  const at::Tensor ours = at::from_blob(const_cast<float*>(dx), {kRows, kChannels}, at::kFloat);
  const double gradients = share_of_different(ours, theirs);
  if (gradients > kStray) refuse(row, "gradients", gradients);
  if (std::strncmp(row.text, "stochastic", 10) == 0) {
    const double difference = (b.y - y).mean().abs().item<double>() / y.abs().mean().item<double>();
    const double sizes = std::abs(b.y.abs().mean().item<double>() / y.abs().mean().item<double>() - 1.0);
    if (difference > 0.01 || sizes > 0.01) refuse(row, "means", std::max(difference, sizes));
    return;
  }
  const double values = share_of_different(b.y, y);
  if (values > kStray) refuse(row, "values", values);
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// The same bytes from and to the same places as the two passes.
void copy_what_moves(const Row& row, Buffers& b) {
  constexpr size_t kBytes = kElements * sizeof(float);
  if (row.copies > 0) std::memcpy(b.y.data_ptr<float>(), b.x.data_ptr<float>(), kBytes);
  if (row.copies > 1) std::memcpy(b.dx.data_ptr<float>(), b.upstream.data_ptr<float>(), kBytes);
}

void measure(const Row& row, Buffers& b, int rounds) {
  require_same(row, b);
  const auto ours = passes(row, b);
  std::vector<double> nibble, torch, copy, to_torch, to_copy;
  const auto time = [](std::vector<double>& times, const auto& work) {
    const double start = cpu_seconds();
    work();
    times.push_back(cpu_seconds() - start);
  };
  for (int round = 0; round < rounds; ++round) {
    time(copy, [&] { copy_what_moves(row, b); });
    time(nibble, [&] { ours(); });
    time(torch, [&] { composed_gradient(row, b, nullptr); });
    to_torch.push_back(torch.back() / nibble.back());
    to_copy.push_back(nibble.back() / copy.back());
  }
  std::printf("%-40s %8.2f %8.2f %7.1f", row.text, median(nibble) * 1e3, median(torch) * 1e3, median(to_torch));
  if (row.copies > 0) {
    std::printf(" %9.2f %7.2f\n", median(copy) * 1e3, median(to_copy));
  } else {
    std::printf(" %9s %7s\n", "-", "-");
  }
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  int rounds = 31;
  if (argc == 3 && std::strcmp(argv[1], "--rounds") == 0) rounds = std::max(1, std::atoi(argv[2]));
  at::set_num_threads(1);
  at::manual_seed(1);
  Buffers b;
  b.x = at::randn({kRows, kChannels});
  b.upstream = at::randn({kRows, kChannels});
  b.y = at::zeros({kRows, kChannels});
  b.dx = at::zeros({kRows, kChannels});
  b.mask.resize(nibble::kernels::mask_bytes(kElements));
  std::printf("%-40s %8s %8s %7s %9s %7s\n", "forward and backward, 1M elements", "ms", "torch ms", "ratio", "copy ms",
              "of copy");
  for (const Row& row : kTable) measure(row, b, rounds);
}
