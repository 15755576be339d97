// Speed of weight quantization against the quantizers' own scalar code.
//
// Workloads: kernels of 3 x 3 x 64 x 64 (36864 weights, one scale per output channel) and 3 x 3 x 128 x 250 (288000).
// Before timing, results are compared. Items are weights.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "nibble/kernels/weight_quantizer.h"

namespace nibble::kernels {
namespace {

const char* const kQuantizers[] = {"quantized_bits(4,0,1,alpha=1.0)",
                                   "quantized_bits(4,0,1,alpha='auto')",
                                   "quantized_bits(4,0,1,alpha='auto_po2')",
                                   "ternary(alpha='auto_po2')",
                                   "binary(alpha='auto_po2')",
                                   "stochastic_binary(alpha='auto_po2')",
                                   "stochastic_ternary(alpha='auto_po2')",
                                   "quantized_po2(4)"};

const Shape kShapes[] = {{3, 3, 64, 64}, {3, 3, 128, 250}};

Tensor random_weights(const Shape& shape) {
  RandomStream random({.seed = 3});
  Tensor weights(shape);
  for (float& w : weights.data()) w = random.normal() * 0.1f;
  return weights;
}

quant::QuantizeOptions training() {
  return {.phase = quant::Phase::kTraining, .random = {.seed = 1, .purpose = RandomPurpose::kQuantizer}};
}

void require_same(const char* text, const Tensor& weights) {
  const auto quantizer = quant::get_quantizer(text);
  Tensor real(weights.shape());
  WeightQuantizer(quantizer).quantize(weights.data().data(), weights.shape(), training(), real.data().data());
  const Tensor expected = quantizer->quantize(weights, training()).real;
  int64_t different = 0;
  for (int64_t i = 0; i < real.size(); ++i) different += real[i] != expected[i] ? 1 : 0;
  if (different <= real.size() / 10000) return;  // draws and logarithms within an ulp of a boundary
  std::fprintf(stderr, "%s: %ld values differ from the quantizer's; no time is worth measuring\n", text,
               static_cast<long>(different));
  std::exit(1);
}

void register_all() {
  for (const char* text : kQuantizers) {
    for (const Shape& shape : kShapes) {
      const Tensor weights = random_weights(shape);
      require_same(text, weights);
      const std::string name = std::string(text) + "/" + std::to_string(shape.elements());
      benchmark::RegisterBenchmark((name + "/vector").c_str(), [text, weights](benchmark::State& state) {
        const WeightQuantizer quantizer(quant::get_quantizer(text));
        Tensor real(weights.shape());
        for (auto _ : state) {
          quantizer.quantize(weights.data().data(), weights.shape(), training(), real.data().data());
          benchmark::ClobberMemory();
        }
        state.SetItemsProcessed(state.iterations() * weights.size());
      });
      benchmark::RegisterBenchmark((name + "/scalar").c_str(), [text, weights](benchmark::State& state) {
        const auto quantizer = quant::get_quantizer(text);
        for (auto _ : state) benchmark::DoNotOptimize(quantizer->quantize(weights, training()));
        state.SetItemsProcessed(state.iterations() * weights.size());
      });
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
