// bench/train_step.cc
// Times training steps of two networks of the AutoQKeras tutorial through the public Trainer.
//
//   T1  MNIST      5 x [conv 3x3 stride 2, batch norm, activation, dropout 0.2], 16,32,48,64,128 filters, dense
//   T2  CIFAR-10   depthwise-separable blocks 16, 3x32, 3x64, 3x128 with max pools
// Kernels are quantized_bits(4,0,1,alpha='auto'), activations quantized_relu(4,2), as in the peers'
// programs. Prints one JSON object on its last line; bench/run compares it with a peer in one run.
//
//   train_step --workload T1|T2 [--no-dropout] [--batch 1024] [--steps 12] [--warmup 2] [--float]
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <nlohmann/json.hpp>
#include <string>

#include "nibble/models/conv_block_network.h"
#include "nibble/train/trainer.h"
#include "nibble/transform/model_quantize.h"

namespace {

using nibble::models::ConvBlockNetworkOptions;
using nlohmann::json;

struct Arguments {
  std::string workload = "T1";
  bool dropout = true, quantized = true;
  int64_t batch = 1024;
  int steps = 12, warmup = 2;
};

Arguments parse(int argc, char** argv) {
  Arguments a;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    const auto value = [&] { return std::string(i + 1 < argc ? argv[++i] : ""); };
    if (flag == "--workload") a.workload = value();
    if (flag == "--no-dropout") a.dropout = false;
    if (flag == "--float") a.quantized = false;
    if (flag == "--batch") a.batch = std::atoll(value().c_str());
    if (flag == "--steps") a.steps = std::atoi(value().c_str());
    if (flag == "--warmup") a.warmup = std::atoi(value().c_str());
  }
  return a;
}

nibble::graph::Model network(const Arguments& a) {
  ConvBlockNetworkOptions options;
  if (a.workload == "T2") {
    options.shape = {32, 32, 3};
    options.filters = {int64_t{16}, std::vector<int64_t>(3, 32), std::vector<int64_t>(3, 64),
                       std::vector<int64_t>(3, 128)};
    options.use_separable = nibble::models::Separable::kMobileNet;
    options.use_xnornet_trick = true;
  } else {
    options.shape = {28, 28, 1};
    options.filters = {int64_t{16}, int64_t{32}, int64_t{48}, int64_t{64}, int64_t{128}};
    options.with_maxpooling = false;
  }
  options.dropout_rate = a.dropout ? 0.2 : 0.0;
  options.kernel_initializer = "he_uniform";
  const auto model = nibble::models::conv_block_network(options);
  if (!a.quantized) return model;
  const json weights = {{"kernel_quantizer", "quantized_bits(4,0,1,alpha='auto')"},
                        {"depthwise_quantizer", "quantized_bits(4,0,1,alpha='auto')"}};
  const json kernel = {{"kernel_quantizer", weights["kernel_quantizer"]}};
  return nibble::transform::model_quantize(
      model,
      {{"QConv2D", kernel},
       {"QDepthwiseConv2D", {{"depthwise_quantizer", weights["depthwise_quantizer"]}}},
       {"QActivation", {{"relu", "quantized_relu(4,2)"}}}},
      {.activation_bits = 4});
}

nibble::data::Dataset noise(const nibble::Shape& shape, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count * shape.elements()));
  std::vector<int32_t> labels(static_cast<size_t>(count));
  nibble::RandomStream stream({1, nibble::RandomPurpose::kTest, 0, 0});
  for (float& v : values) v = stream.normal();
  for (int32_t& l : labels) l = static_cast<int32_t>(stream.below(10));
  nibble::data::Dataset dataset;
  dataset.name = "noise";
  dataset.num_classes = 10;
  dataset.train = nibble::data::Samples(shape, std::move(values), std::move(labels));
  return dataset;
}

double seconds(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

// Times from the end of one step to the end of the next.
class Stopwatch : public nibble::train::Callback {
 public:
  void on_batch_end(int, int64_t, double loss, std::optional<double>) override {
    const double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    if (started_) {
      wall_ms.push_back((wall - wall_) * 1e3);
      cpu_ms.push_back((cpu - cpu_) * 1e3);
    }
    started_ = true;
    wall_ = seconds(CLOCK_MONOTONIC);
    cpu_ = seconds(CLOCK_PROCESS_CPUTIME_ID);
    last_loss = loss;
  }
  std::vector<double> wall_ms, cpu_ms;
  double last_loss = 0;

 private:
  bool started_ = false;
  double wall_ = 0, cpu_ = 0;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0.0 : values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  setenv("OMP_NUM_THREADS", "1", 0);
  setenv("OPENBLAS_NUM_THREADS", "1", 0);
  const Arguments a = parse(argc, argv);
  const auto model = network(a);
  const nibble::Shape shape = nibble::graph::infer_shapes(model).at(model.inputs[0]);
  // A few batches of noise are enough: the time of a step does not depend on the values.
  const int64_t batches = 4;
  const auto dataset = noise(shape, a.batch * batches);
  nibble::train::Trainer trainer(model, {.learning_rate = 1e-3, .reestimation_batches = 0});
  Stopwatch stopwatch;
  nibble::train::FitOptions fit;
  fit.epochs = static_cast<int>((a.steps + a.warmup + 1 + batches - 1) / batches);
  fit.batch_size = a.batch;
  fit.callbacks = {&stopwatch};
  trainer.fit(dataset, fit);
  const auto drop = [&](std::vector<double>& v) {
    v.erase(v.begin(), v.begin() + std::min<long>(a.warmup, static_cast<long>(v.size())));
  };
  drop(stopwatch.wall_ms);
  drop(stopwatch.cpu_ms);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const json result = {
      {"workload", a.workload},
      {"batch", a.batch},
      {"results", {{"nibble", {{"ms_per_step", median(stopwatch.wall_ms)}, {"cpu_ms", median(stopwatch.cpu_ms)}}}}},
      {"peak_memory_mib", static_cast<double>(usage.ru_maxrss) / 1024.0},
      {"loss", stopwatch.last_loss}};
  std::printf("%s\n", result.dump().c_str());
  return 0;
}
