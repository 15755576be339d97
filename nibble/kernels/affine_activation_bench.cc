// Speed of the fused kernels against their scalar twins.
//
// Workloads, each on 64 channels and on 24 (a period of three vectors in AVX2):
//   slice   64 KiB of input, so that everything stays in the L2 cache
//   stream  32 MiB of input, from memory
// Before timing, a kernel's result is compared with the scalar twin's. Bytes are those of the tensors
// (masks included) read and written once.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "nibble/core/philox.h"
#include "nibble/kernels/affine_activation.h"

namespace nibble::kernels {
namespace {

constexpr ActivationSpec kLinear{.kind = ActivationKind::kLinear};
constexpr ActivationSpec kQuantizedRelu{
    .kind = ActivationKind::kQuantizedRelu, .scale = 0.25f, .code_max = 15, .upper = 3.75f};
constexpr ActivationSpec kBinary{.kind = ActivationKind::kBinary};
constexpr ActivationSpec kPo2{
    .kind = ActivationKind::kQuantizedReluPo2, .upper = 4, .exponent_min = -8, .exponent_max = 2};

struct Workload {
  Workload(int64_t elements, int64_t channels_in) : rows(elements / channels_in), channels(channels_in) {
    const auto count = static_cast<size_t>(rows * channels);
    RandomStream random({.seed = 1});
    x.resize(count);
    upstream.resize(count);
    for (size_t e = 0; e < count; ++e) {
      x[e] = random.uniform() * 6 - 3;
      upstream[e] = random.uniform() - 0.5f;
    }
    y.resize(count);
    mask.resize(mask_bytes(count));
    for (int64_t c = 0; c < channels; ++c) {
      multiplier.push_back(0.5f + random.uniform());
      offset.push_back(random.uniform());
    }
    h.resize(multiplier.size());
    hx.resize(multiplier.size());
  }
  int64_t rows, channels;
  std::vector<float> x, upstream, y, multiplier, offset;
  std::vector<uint8_t> mask;
  std::vector<double> h, hx;
};

Dropout dropout(float rate) { return {.rate = rate, .key = {.seed = 7, .purpose = RandomPurpose::kDropout}}; }

struct Kernels {
  decltype(&affine_activation_forward) forward;
  decltype(&affine_activation_gradient_sums) sums;
  decltype(&affine_activation_gradient) gradient;
  decltype(&channel_moments) moments;
};
constexpr Kernels kVector{affine_activation_forward, affine_activation_gradient_sums, affine_activation_gradient,
                          channel_moments};
constexpr Kernels kScalar{scalar::affine_activation_forward, scalar::affine_activation_gradient_sums,
                          scalar::affine_activation_gradient, scalar::channel_moments};

void run_forward(const Kernels& k, Workload& w, const ActivationSpec& spec, float rate) {
  k.forward(w.x.data(), w.y.data(), w.mask.data(), w.rows, w.channels, w.multiplier.data(), w.offset.data(), spec,
            dropout(rate));
}

void run_sums(const Kernels& k, Workload& w, const ActivationSpec& spec, float rate) {
  k.sums(w.upstream.data(), w.x.data(), w.mask.data(), w.rows, w.channels, w.multiplier.data(), w.offset.data(), spec,
         rate, w.h.data(), w.hx.data());
}

void run_gradient(const Kernels& k, Workload& w, const ActivationSpec& spec, float rate) {
  k.gradient(w.upstream.data(), w.x.data(), w.mask.data(), w.y.data(), w.rows, w.channels, w.multiplier.data(),
             w.offset.data(), spec, rate, w.multiplier.data(), w.offset.data(), w.offset.data());
}

void run_moments(const Kernels& k, Workload& w, const ActivationSpec&, float) {
  k.moments(w.x.data(), w.rows, w.channels, w.h.data(), w.hx.data());
}

using Run = void (*)(const Kernels&, Workload&, const ActivationSpec&, float);

void require_same(Run run, const ActivationSpec& spec, float rate, int64_t channels) {
  Workload a(channels * 333, channels), b(channels * 333, channels);
  run_forward(kScalar, a, spec, rate);
  run_forward(kScalar, b, spec, rate);
  run(kVector, a, spec, rate);
  run(kScalar, b, spec, rate);
  bool same = true;
  for (size_t e = 0; e < a.y.size(); ++e) same &= std::abs(a.y[e] - b.y[e]) < 1e-5f;
  for (size_t c = 0; c < a.h.size(); ++c) same &= std::abs(a.h[c] - b.h[c]) + std::abs(a.hx[c] - b.hx[c]) < 1e-2;
  if (same) return;
  std::fprintf(stderr, "the kernel does not give the scalar twin's result; no time is worth measuring\n");
  std::exit(1);
}

struct Benchmark {
  const char* name;
  Run run;
  ActivationSpec spec;
  float rate;
  double bytes_per_element;
};

const Benchmark kBenchmarks[] = {
    {"forward/quantized_relu", run_forward, kQuantizedRelu, 0.0f, 8.125},
    {"forward/quantized_relu/dropout", run_forward, kQuantizedRelu, 0.25f, 8.125},
    {"forward/quantized_relu_po2", run_forward, kPo2, 0.0f, 8.125},
    {"forward/binary", run_forward, kBinary, 0.0f, 8.125},
    {"forward/linear", run_forward, kLinear, 0.0f, 8.125},
    {"gradient_sums/quantized_relu", run_sums, kQuantizedRelu, 0.25f, 8.125},
    {"gradient_sums/binary", run_sums, kBinary, 0.0f, 8.125},
    {"gradient/quantized_relu", run_gradient, kQuantizedRelu, 0.25f, 12.125},
    {"gradient/binary", run_gradient, kBinary, 0.0f, 12.125},
    {"moments", run_moments, kLinear, 0.0f, 4},
};

void time_kernel(benchmark::State& state, const Benchmark& b, const Kernels& kernels, int64_t elements,
                 int64_t channels) {
  Workload w(elements, channels);
  run_forward(kVector, w, b.spec, b.rate);
  for (auto _ : state) {
    b.run(kernels, w, b.spec, b.rate);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(
      static_cast<int64_t>(static_cast<double>(state.iterations() * w.rows * w.channels) * b.bytes_per_element));
}

void register_all() {
  constexpr int64_t kSlice = 16 * 1024, kStream = 8 * 1024 * 1024;
  for (const Benchmark& b : kBenchmarks) {
    for (int64_t channels : {64, 24}) {
      require_same(b.run, b.spec, b.rate, channels);
      const auto add = [&](const char* workload, const char* which, const Kernels& kernels, int64_t elements) {
        const std::string name = std::string(b.name) + "/" + workload + "/" + std::to_string(channels) + "/" + which;
        benchmark::RegisterBenchmark(name.c_str(), [&b, &kernels, elements, channels](benchmark::State& state) {
          time_kernel(state, b, kernels, elements, channels);
        });
      };
      add("slice", "vector", kVector, kSlice);
      add("stream", "vector", kVector, kStream);
      add("slice", "scalar", kScalar, kSlice);
    }
  }
}

}  // namespace
}  // namespace nibble::kernels

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  nibble::kernels::register_all();
  benchmark::RunSpecifiedBenchmarks();
}
