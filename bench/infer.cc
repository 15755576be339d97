// bench/infer.cc
// Times integer programs of three networks: what peers/onednn_infer.cpp and peers/ort_infer.js time with 8 bits.
//
//   resnet8    residual blocks 16, 32, 64 on 32x32x3                     12.5 M multiply-adds
//   mobilenet  depthwise-separable blocks 8 ... 256 on 96x96x3            7.5 M
//   t1         the AutoQKeras tutorial's: 5 convolutions of stride 2 on 28x28x1
// as int8 (8-bit weights and activations), int4, and t1 as binary. Weights are random, operators and sizes are real.
// Each is checked against the reference executor before it is timed. Prints one JSON object on its last line;
// bench/run compares it with the peers in one run.
//
//   infer [--rounds 5] [--seconds 0.3] [--networks resnet8_int8,t1_int8]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "nibble/graph/builder.h"
#include "nibble/program/fast/fast_executor.h"
#include "nibble/program/lowering.h"
#include "nibble/program/program_file.h"

namespace {

using namespace nibble::graph::build;
namespace graph = nibble::graph;
namespace program = nibble::program;
using nlohmann::json;

// Quantizers of a network.
struct Bits {
  std::string weights, relu, linear;  // `linear`: of what enters an addition
};
const Bits kInt8{"quantized_bits(8,0,1,alpha=1.0)", "quantized_relu(8,2)", "quantized_bits(8,2,1,alpha=1.0)"};
const Bits kInt4{"quantized_bits(4,0,1,alpha=1.0)", "quantized_relu(4,2)", "quantized_bits(4,2,1,alpha=1.0)"};
const Bits kBinary{"binary(alpha=1)", "binary(alpha=1)", "binary(alpha=1)"};

Node conv(const Node& x, const Bits& bits, int64_t filters, int64_t size, int64_t stride,
          const std::string& activation) {
  Node y = QConv2D({.filters = filters,
                    .kernel_size = {size, size},
                    .strides = {stride, stride},
                    .padding = "same",
                    .use_bias = false,
                    .kernel_quantizer = bits.weights})(x);
  return QActivation({.activation = activation})(BatchNormalization()(y));
}

Node depthwise(const Node& x, const Bits& bits, int64_t stride) {
  Node y = QDepthwiseConv2D({.kernel_size = {3, 3},
                             .strides = {stride, stride},
                             .padding = "same",
                             .use_bias = false,
                             .depthwise_quantizer = bits.weights})(x);
  return QActivation({.activation = bits.relu})(BatchNormalization()(y));
}

Node head(const Node& x, const Bits& bits, int64_t classes) {
  return QDense({.units = classes, .kernel_quantizer = bits.weights, .bias_quantizer = "quantized_bits(8,2,1)"})(x);
}

Node mean(const Node& x, const Bits& bits) {
  return QActivation({.activation = bits.relu})(GlobalAveragePooling2D()(x));
}

graph::Model resnet8(const Bits& bits) {
  const Node in = Input({.shape = {32, 32, 3}, .name = "input"});
  Node x = conv(in, bits, 16, 3, 1, bits.relu);
  int64_t channels = 16;
  for (const auto& [filters, stride] : {std::pair<int64_t, int64_t>{16, 1}, {32, 2}, {64, 2}}) {
    const Node y = conv(conv(x, bits, filters, 3, stride, bits.relu), bits, filters, 3, 1, bits.linear);
    const Node shortcut = filters == channels ? x : conv(x, bits, filters, 1, stride, bits.linear);
    x = QActivation({.activation = bits.relu})(nibble::graph::build::Add()(std::vector<Node>{shortcut, y}));
    channels = filters;
  }
  return build_model({in}, {head(mean(x, bits), bits, 10)}, "resnet8");
}

graph::Model mobilenet(const Bits& bits) {
  const Node in = Input({.shape = {96, 96, 3}, .name = "input"});
  Node x = conv(in, bits, 8, 3, 2, bits.relu);
  const std::pair<int64_t, int64_t> blocks[] = {{16, 1},  {32, 2},  {32, 1},  {64, 2},  {64, 1},  {128, 2}, {128, 1},
                                                {128, 1}, {128, 1}, {128, 1}, {128, 1}, {256, 2}, {256, 1}};
  for (const auto& [filters, stride] : blocks) {
    x = conv(depthwise(x, bits, stride), bits, filters, 1, 1, bits.relu);
  }
  return build_model({in}, {head(mean(x, bits), bits, 2)}, "mobilenet");
}

graph::Model t1(const Bits& bits) {
  const Node in = Input({.shape = {28, 28, 1}, .name = "input"});
  Node x = in;
  for (const int64_t filters : {16, 32, 48, 64, 128}) x = conv(x, bits, filters, 3, 2, bits.relu);
  return build_model({in}, {head(Flatten()(x), bits, 10)}, "t1");
}

// Random weights; statistics of batch norms that spread the sums over the activations' codes.
void fill(graph::Model& model) {
  graph::initialize_weights(model, 1);
  nibble::RandomStream random({.seed = 2});
  for (graph::Layer& layer : model.layers) {
    for (graph::Weight& weight : layer.weights) {
      for (float& value : weight.value.data()) {
        if (weight.name == "gamma") value = 0.5f + random.uniform();
        if (weight.name == "beta") value = random.uniform() - 0.2f;
        if (weight.name == "moving_variance") value = 0.5f + random.uniform();
      }
    }
  }
}

struct Job {
  std::string name;
  program::Program program;
  std::unique_ptr<program::FastExecutor> executor;
  int64_t file_bytes = 0;
  std::vector<float> x, y;
  std::vector<std::pair<int64_t, std::vector<double>>> times;  // of batch sizes, microseconds
};

void check(Job& job) {
  constexpr int64_t kSamples = 3;
  const std::span<const float> x(job.x.data(), static_cast<size_t>(kSamples * job.program.input_shape.elements()));
  std::vector<float> found(static_cast<size_t>(kSamples * job.program.output_shape().elements())), expected(found);
  program::Executor reference(job.program);
  static_cast<program::Runner&>(reference).run(x, kSamples, expected);
  job.executor->run(x, kSamples, found);
  if (found != expected) throw std::runtime_error(job.name + ": the fast executor's results are not the reference's");
}

Job make_job(const std::string& name, graph::Model model) {
  constexpr int64_t kLargest = 64;
  fill(model);
  Job job;
  job.name = name, job.program = program::lower(model);
  const auto path = std::filesystem::temp_directory_path() / ("nibble_bench_" + name + ".nbl");
  program::save_program(job.program, path);
  job.file_bytes = static_cast<int64_t>(std::filesystem::file_size(path));
  job.program = program::load_program(path);
  std::filesystem::remove(path);
  job.x.resize(static_cast<size_t>(kLargest * job.program.input_shape.elements()));
  nibble::RandomStream random({.seed = 3});
  for (float& value : job.x) value = random.uniform() * 2 - 1;
  job.y.resize(static_cast<size_t>(kLargest * job.program.output_shape().elements()));
  for (const int64_t batch : {int64_t{1}, kLargest}) job.times.push_back({batch, {}});
  return job;
}

void measure(Job& job, double seconds) {
  for (auto& [batch, times] : job.times) {
    const std::span<const float> x(job.x.data(), static_cast<size_t>(batch * job.program.input_shape.elements()));
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    do {
      const auto begin = std::chrono::steady_clock::now();
      job.executor->run(x, batch, job.y);
      times.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count());
    } while (std::chrono::steady_clock::now() < end);
  }
}

json to_json(std::vector<Job>& jobs) {
  json results = json::object();
  for (Job& job : jobs) {
    for (auto& [batch, times] : job.times) {
      std::sort(times.begin(), times.end());
      const double us = times[times.size() / 2];
      results[job.name + "@" + std::to_string(batch)] = {
          {"us_per_call", us},
          {"us_per_sample", us / static_cast<double>(batch)},
          {"min_us", times.front()},
          {"file_bytes", job.file_bytes},
          {"activation_bytes", job.executor->activation_bytes()},
          {"peak_activation_bytes", job.executor->peak_activation_bytes()},
          {"prepared_bytes", job.executor->prepared_bytes()}};
    }
  }
  return {{"results", results}};
}

}  // namespace

int main(int argc, char** argv) {
  int rounds = 5;
  double seconds = 0.3;
  std::string wanted;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    if (flag == "--rounds") rounds = std::atoi(argv[i + 1]);
    if (flag == "--seconds") seconds = std::atof(argv[i + 1]);
    if (flag == "--networks") wanted = argv[i + 1];
  }
  try {
    std::vector<Job> jobs;
    const auto add = [&](const std::string& name, graph::Model (*network)(const Bits&), const Bits& bits) {
      if (wanted.empty() || ("," + wanted + ",").find("," + name + ",") != std::string::npos) {
        jobs.push_back(make_job(name, network(bits)));
      }
    };
    add("resnet8_int8", resnet8, kInt8), add("mobilenet_int8", mobilenet, kInt8), add("t1_int8", t1, kInt8);
    add("resnet8_int4", resnet8, kInt4), add("mobilenet_int4", mobilenet, kInt4), add("t1_int4", t1, kInt4);
    add("t1_binary", t1, kBinary);
    for (Job& job : jobs) {
      job.executor = std::make_unique<program::FastExecutor>(job.program);
      check(job);
      for (const std::string& step : job.executor->steps())
        std::fprintf(stderr, "%s: %s\n", job.name.c_str(), step.c_str());
    }
    for (int round = 0; round < rounds; ++round) {
      for (Job& job : jobs) measure(job, seconds);
    }
    std::printf("%s\n", to_json(jobs).dump().c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "infer: %s\n", error.what());
    return 1;
  }
  return 0;
}
