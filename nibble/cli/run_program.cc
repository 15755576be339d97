// nibble run: an integer program on a .npy file or a data set.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "nibble/cli/command.h"
#include "nibble/cli/data_options.h"
#include "nibble/cli/executor_option.h"
#include "nibble/cli/progress.h"
#include "nibble/cli/samples.h"
#include "nibble/cli/table.h"
#include "nibble/data/npy.h"
#include "nibble/program/executor.h"
#include "nibble/program/program_file.h"

namespace nibble::cli {
namespace {

struct RunOptions {
  std::filesystem::path program, input, output;
  DataOptions data;
  ExecutorOption executor;
  bool json = false;
};

int predict(const RunOptions& o, const program::Program& program, Streams& streams) {
  if (o.output.empty()) throw UsageError("--input needs --output Y.npy, where the results go.");
  const Tensor y = program::run(program, *make_runner(program, o.executor), data::read_npy(o.input));
  data::write_npy(o.output, y);
  if (o.json) {
    print_json({{"output", o.output.string()}, {"shape", std::vector<int64_t>(y.shape().begin(), y.shape().end())}},
               streams.out);
  }
  streams.err << fmt::format("wrote {} of shape {}\n", o.output.string(), y.shape().str());
  return kOk;
}

double sum_of_squares(const Tensor& y, const data::Samples& samples, int64_t begin, int64_t count) {
  const int64_t each = samples.target_shape().elements();
  if (y.size() != count * each) {
    throw InvalidArgument("the program gives {} numbers a sample, but the data have {}.", y.size() / count, each);
  }
  double sum = 0;
  for (int64_t i = 0; i < y.size(); ++i) {
    const double error = static_cast<double>(y[i]) - static_cast<double>(samples.targets()[begin * each + i]);
    sum += error * error;
  }
  return sum;
}

int tell_error(const RunOptions& o, double mean, int64_t count, Streams& streams) {
  if (o.json) {
    print_json({{"mean_squared_error", mean}, {"samples", count}}, streams.out);
  } else {
    streams.out << fmt::format("mean_squared_error {:.6g} on {} samples\n", mean, count);
  }
  return kOk;
}

// Does the program's output name the label? Of several by the highest; one alone says by 0.5 which of two classes it
// is, and of more the number of the class.
bool is_right(std::span<const float> row, int32_t label, bool has_two_classes) {
  if (row.size() > 1) return std::max_element(row.begin(), row.end()) - row.begin() == label;
  return has_two_classes ? (row[0] > 0.5f) == (label == 1) : std::abs(row[0] - static_cast<float>(label)) < 0.5f;
}

int evaluate(const RunOptions& o, const program::Program& program, Streams& streams) {
  const data::Dataset dataset = load(o.data, streams);
  const int64_t count = dataset.test.count();
  const auto runner = make_runner(program, o.executor);
  ProgressBar bar(streams.err, streams.err_is_terminal);
  int64_t correct = 0;
  double squares = 0;  // of errors, where the data have numbers
  const bool has_targets = dataset.test.has_targets(), has_two_classes = dataset.num_classes <= 2;
  constexpr int64_t kBatch = 100;
  for (int64_t begin = 0; begin < count; begin += kBatch) {
    const int64_t size = std::min(kBatch, count - begin);
    Tensor y;
    program::count_samples_from(
        begin, [&] { y = program::run(program, *runner, gather(dataset.test, begin, size, program.input_shape)); });
    if (has_targets) {
      squares += sum_of_squares(y, dataset.test, begin, size);
      continue;
    }
    const auto classes = static_cast<size_t>(y.size() / size);
    for (int64_t n = 0; n < size; ++n) {
      const auto row = y.data().subspan(static_cast<size_t>(n) * classes, classes);
      correct += is_right(row, dataset.test.labels()[static_cast<size_t>(begin + n)], has_two_classes) ? 1 : 0;
    }
    bar.update(static_cast<double>(begin + size) / static_cast<double>(count), "run", "");
  }
  bar.clear();
  if (has_targets) return tell_error(o, squares / static_cast<double>(dataset.test.targets().size()), count, streams);
  const double accuracy = static_cast<double>(correct) / static_cast<double>(std::max<int64_t>(1, count));
  if (o.json) {
    print_json({{"accuracy", accuracy}, {"samples", count}}, streams.out);
  } else {
    streams.out << fmt::format("accuracy {:.4f} on {} samples\n", accuracy, count);
  }
  return kOk;
}

int run(const RunOptions& o, Streams& streams) {
  const program::Program program = program::load_program(o.program);
  if (o.input.empty() == o.data.name.empty()) {
    throw UsageError("give either --input X.npy with --output Y.npy, or --data NAME.");
  }
  if (o.input.empty() && !o.output.empty()) {
    throw UsageError("--output is for --input; with --data the accuracy is printed. Leave one out.");
  }
  return o.data.name.empty() ? predict(o, program, streams) : evaluate(o, program, streams);
}

}  // namespace

Run declare_run(CLI::App& app) {
  auto o = std::make_shared<RunOptions>();
  app.add_option("PROGRAM", o->program, "A file of 'nibble compile'")->required()->type_name("FILE.nbl");
  app.add_option("--input,-i", o->input, "Samples as the network sees them: [n, ...]")->type_name("X.npy");
  app.add_option("--output,-o", o->output, "Outputs: [n, ...], float32")->type_name("Y.npy");
  add_data_options(app, o->data);
  app.get_option("--data")->required(false);
  add_executor_option(app, o->executor);
  app.add_flag("--json", o->json, "Print {\"accuracy\" (or \"mean_squared_error\"), \"samples\"}");
  return [o](Streams& streams) { return run(*o, streams); };
}

}  // namespace nibble::cli
