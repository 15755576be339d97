// Speed of 2 x 2 max pooling against its scalar twin.
//
// Workloads: 64 x 28 x 28 x 32 (6 MiB) and 16 x 14 x 14 x 24 (300 KiB). Results are compared before timing. Bytes are
// those of the tensors read and written once.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "nibble/core/philox.h"
#include "nibble/kernels/max_pool_2x2.h"

namespace nibble::kernels {
namespace {

struct Workload {
  Workload(int64_t batch_in, int64_t extent_in, int64_t channels_in)
      : batch(batch_in), extent(extent_in), channels(channels_in) {
    const auto count = static_cast<size_t>(batch * extent * extent * channels);
    RandomStream random({.seed = 1});
    for (size_t i = 0; i < count; ++i) x.push_back(static_cast<float>(random.below(16)) * 0.25f);
    dx.resize(count);
    y.resize(count / 4);
    argmax.resize(count / 4);
  }
  int64_t batch, extent, channels;
  std::vector<float> x, dx, y;
  std::vector<uint8_t> argmax;
};

using Forward = decltype(&max_pool_2x2_forward);
using Gradient = decltype(&max_pool_2x2_gradient);

void run(Forward forward, Workload& w) {
  forward(w.x.data(), w.y.data(), w.argmax.data(), w.batch, w.extent, w.extent, w.channels);
}

void run(Gradient gradient, Workload& w) {
  gradient(w.y.data(), w.argmax.data(), w.dx.data(), w.batch, w.extent, w.extent, w.channels);
}

void require_same(Workload w) {
  Workload other = w;
  run(max_pool_2x2_forward, w);
  run(scalar::max_pool_2x2_forward, other);
  const bool same_forward = w.y == other.y && w.argmax == other.argmax;
  run(max_pool_2x2_gradient, w);
  run(scalar::max_pool_2x2_gradient, other);
  if (same_forward && w.dx == other.dx) return;
  std::fprintf(stderr, "the kernel does not give the scalar twin's result; no time is worth measuring\n");
  std::exit(1);
}

template <class Function>
void add(const std::string& name, Function function, const Workload& workload) {
  benchmark::RegisterBenchmark(name.c_str(), [function, given = workload](benchmark::State& state) {
    Workload workload = given;
    run(max_pool_2x2_forward, workload);
    for (auto _ : state) {
      run(function, workload);
      benchmark::ClobberMemory();
    }
    const auto cells = static_cast<int64_t>(workload.y.size());
    state.SetBytesProcessed(state.iterations() * cells * (4 * 4 + 4 + 1));
  });
}

}  // namespace
}  // namespace nibble::kernels

int main(int argc, char** argv) {
  using namespace nibble::kernels;
  benchmark::Initialize(&argc, argv);
  for (const Workload& w : {Workload(64, 28, 32), Workload(16, 14, 24)}) {
    require_same(w);
    std::string size("/");
    size += std::to_string(w.extent) + "x" + std::to_string(w.channels);
    add("forward" + size + "/vector", max_pool_2x2_forward, w);
    add("forward" + size + "/scalar", scalar::max_pool_2x2_forward, w);
    add("gradient" + size + "/vector", max_pool_2x2_gradient, w);
    add("gradient" + size + "/scalar", scalar::max_pool_2x2_gradient, w);
  }
  benchmark::RunSpecifiedBenchmarks();
}
