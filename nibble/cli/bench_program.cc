// nibble bench: how fast an integer program runs on this machine, and what memory it takes.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>

#include "nibble/cli/command.h"
#include "nibble/cli/executor_option.h"
#include "nibble/cli/limits.h"
#include "nibble/cli/table.h"
#include "nibble/core/philox.h"
#include "nibble/program/fast/fast_executor.h"
#include "nibble/program/program_file.h"

namespace nibble::cli {
namespace {

struct BenchOptions {
  std::filesystem::path program;
  ExecutorOption executor;
  std::vector<int64_t> batches = {1, 64};
  double seconds = 1.0;
  bool steps = false, json = false;
};

struct Timing {
  int64_t batch = 0;
  double microseconds = 0;  // of processor time a call, the median
  int64_t calls = 0;

  double per_sample() const { return microseconds / static_cast<double>(batch); }
  double samples_per_second() const { return 1e6 / per_sample(); }
};

// Processor time of this thread: other work on the machine does not count.
double now_us() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) * 1e-3;
}

std::vector<float> noise(const program::Program& program, int64_t count) {
  std::vector<float> x(static_cast<size_t>(count * program.input_shape.elements()));
  RandomStream random({.seed = 1});
  for (float& value : x) value = random.uniform() * 2 - 1;
  return x;
}

// Times nothing that is wrong.
void check(const program::Program& program, program::Runner& runner) {
  constexpr int64_t kSamples = 5;
  const std::vector<float> x = noise(program, kSamples);
  std::vector<float> found(static_cast<size_t>(kSamples * program.output_shape().elements())), expected(found);
  program::Executor reference(program);
  static_cast<program::Runner&>(reference).run(x, kSamples, expected);
  runner.run(x, kSamples, found);
  if (found != expected) throw Error("[bench] the executor's results are not the reference's.");
}

Timing measure(const program::Program& program, program::Runner& runner, int64_t batch, double seconds) {
  const std::vector<float> x = noise(program, batch);
  std::vector<float> y(static_cast<size_t>(batch * program.output_shape().elements()));
  runner.run(x, batch, y);
  std::vector<double> times;
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  do {
    const double begin = now_us();
    runner.run(x, batch, y);
    times.push_back(now_us() - begin);
  } while (std::chrono::steady_clock::now() < end);
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
  return {batch, times[times.size() / 2], static_cast<int64_t>(times.size())};
}

struct Sizes {
  int64_t file = 0, activations = 0, peak_activations = 0, prepared = 0;
};

nlohmann::json to_json(const BenchOptions& o, const std::vector<Timing>& timings, const Sizes& sizes,
                       const std::vector<std::string>& steps) {
  nlohmann::json results = nlohmann::json::array();
  for (const Timing& t : timings) {
    results.push_back({{"batch", t.batch},
                       {"us_per_call", t.microseconds},
                       {"us_per_sample", t.per_sample()},
                       {"samples_per_second", t.samples_per_second()},
                       {"calls", t.calls}});
  }
  return {{"executor", o.executor.name},
          {"file_bytes", sizes.file},
          {"activation_bytes", sizes.activations},
          {"peak_activation_bytes", sizes.peak_activations},
          {"prepared_bytes", sizes.prepared},
          {"results", results},
          {"steps", steps}};
}

void print_result(const BenchOptions& o, const std::vector<Timing>& timings, const Sizes& sizes,
                  const std::vector<std::string>& steps, std::ostream& out) {
  Table table{.headers = {"batch", "us a call", "us a sample", "samples/s"}, .rows = {}};
  for (const Timing& t : timings) {
    table.rows.push_back({std::to_string(t.batch), fmt::format("{:.1f}", t.microseconds),
                          fmt::format("{:.2f}", t.per_sample()), fmt::format("{:.0f}", t.samples_per_second())});
  }
  print(table, out);
  out << fmt::format("one thread, processor time; file {} bytes\n", sizes.file);
  if (o.executor.name == "fast") {
    out << fmt::format("activations of a sample: {} bytes at most at one time, {} held; prepared weights: {} bytes\n",
                       sizes.peak_activations, sizes.activations, sizes.prepared);
  }
  if (o.steps) {
    for (const std::string& step : steps) out << step << "\n";
  }
}

int run(const BenchOptions& o, Streams& streams) {
  const program::Program program = program::load_program(o.program);
  const auto runner = make_runner(program, o.executor);
  check(program, *runner);
  Sizes sizes;
  sizes.file = static_cast<int64_t>(std::filesystem::file_size(o.program));
  std::vector<std::string> steps;
  if (const auto* fast = dynamic_cast<const program::FastExecutor*>(runner.get())) {
    sizes.activations = fast->activation_bytes(), sizes.peak_activations = fast->peak_activation_bytes();
    sizes.prepared = fast->prepared_bytes(), steps = fast->steps();
  }
  std::vector<Timing> timings;
  for (const int64_t batch : o.batches) timings.push_back(measure(program, *runner, batch, o.seconds));
  if (o.json) {
    print_json(to_json(o, timings, sizes, steps), streams.out);
  } else {
    print_result(o, timings, sizes, steps, streams.out);
  }
  return kOk;
}

}  // namespace

Run declare_bench(CLI::App& app) {
  auto o = std::make_shared<BenchOptions>();
  app.add_option("PROGRAM", o->program, "A file of 'nibble compile'")->required()->type_name("FILE.nbl");
  app.add_option("--batches", o->batches, "Samples a call")
      ->delimiter(',')
      ->check(between(1, 1 << 16))
      ->capture_default_str();
  app.add_option("--seconds", o->seconds, "How long each batch size is measured")
      ->check(positive())
      ->capture_default_str();
  add_executor_option(app, o->executor);
  app.add_flag("--steps", o->steps, "Print what runs, in order");
  app.add_flag("--json", o->json, "Print sizes, times and steps as JSON");
  return [o](Streams& streams) { return run(*o, streams); };
}

}  // namespace nibble::cli
