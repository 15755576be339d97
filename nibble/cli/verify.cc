// nibble verify: the integer program of a model against the float network, layer by layer.
#include <CLI/CLI.hpp>
#include <map>
#include <nlohmann/json.hpp>

#include "nibble/cli/command.h"
#include "nibble/cli/data_options.h"
#include "nibble/cli/executor_option.h"
#include "nibble/cli/limits.h"
#include "nibble/cli/model_argument.h"
#include "nibble/cli/program_options.h"
#include "nibble/cli/progress.h"
#include "nibble/cli/samples.h"
#include "nibble/cli/table.h"
#include "nibble/program/verification.h"
#include "nibble/train/trainer.h"

namespace nibble::cli {
namespace {

struct VerifyOptions {
  ModelArgument model;
  DataOptions data;
  ProgramOptions program;
  ExecutorOption executor;
  int64_t samples = 0;  // 0: all
  int threads = 1;
  bool json = false;
};

// The network cut off after each layer that is compared; "" is the whole.
class Networks {
 public:
  Networks(const graph::Model& model, const std::vector<std::string>& layers, int threads) {
    trainers_.emplace("", train::Trainer(model, {.threads = threads}));
    for (const std::string& layer : layers) {
      if (trainers_.contains(layer)) continue;
      trainers_.emplace(layer, train::Trainer(program::network_up_to(model, layer), {.threads = threads}));
    }
  }

  Tensor operator()(const std::string& layer, const Tensor& x) { return trainers_.at(layer).predict(x, x.shape()[0]); }

 private:
  std::map<std::string, train::Trainer> trainers_;
};

program::Verification verify(const VerifyOptions& o, Streams& streams) {
  const graph::Model model = load_with_weights(o.model);
  const program::Program program = program::lower(model, lowering_options(o.program));
  const data::Dataset dataset = load(o.data, streams);
  const auto quantizer = program::input_quantizer(program, model);
  program::Verifier verifier(program, make_runner(program, o.executor, /*keep_results=*/true));
  Networks networks(model, verifier.layers(), o.threads);
  ProgressBar bar(streams.err, streams.err_is_terminal);
  const int64_t all = dataset.test.count(), count = o.samples == 0 ? all : std::min(all, o.samples);
  constexpr int64_t kBatch = 250;
  for (int64_t begin = 0; begin < count; begin += kBatch) {
    const int64_t size = std::min(kBatch, count - begin);
    Tensor x = gather(dataset.test, begin, size, program.input_shape);
    if (quantizer != nullptr) x = quantizer->quantize(x).real;
    verifier.add(x, [&](const std::string& layer, const Tensor& batch) { return networks(layer, batch); });
    bar.update(static_cast<double>(begin + size) / static_cast<double>(count), "verify", "");
  }
  return verifier.result();
}

void print_result(const program::Verification& result, std::ostream& out) {
  Table table{.headers = {"layer", "operation", "values", "differing"}, .rows = {}};
  for (const program::LayerComparison& layer : result.layers) {
    table.rows.push_back({layer.layer, layer.operation, std::to_string(layer.values), std::to_string(layer.differing)});
  }
  print(table, out);
  out << fmt::format("{} samples: {} of {} integers differ; the same class {} times\n", result.samples,
                     result.differing(), result.values(), result.same_class);
  if (const program::LayerComparison* layer = result.first_difference()) {
    const program::Difference& first = *layer->first;
    out << fmt::format(
        "first difference: layer '{}', sample {}, element {} ({}): the network has {} (code {}), the program {} (code "
        "{})\n",
        layer->layer, first.sample, first.element, fmt::join(first.index, ", "), first.expected, first.expected_code,
        first.found, first.found_code);
  }
}

// Null: there is none.
nlohmann::json to_json(const program::LayerComparison* layer) {
  if (layer == nullptr) return nullptr;
  const program::Difference& first = *layer->first;
  return {{"layer", layer->layer},
          {"operation", layer->operation},
          {"sample", first.sample},
          {"element", first.element},
          {"index", first.index},
          {"network", {{"value", first.expected}, {"code", first.expected_code}}},
          {"program", {{"value", first.found}, {"code", first.found_code}}}};
}

nlohmann::json to_json(const program::Verification& result) {
  nlohmann::json layers = nlohmann::json::array();
  for (const program::LayerComparison& layer : result.layers) {
    layers.push_back({{"layer", layer.layer},
                      {"operation", layer.operation},
                      {"values", layer.values},
                      {"differing", layer.differing}});
  }
  return {{"layers", layers},
          {"samples", result.samples},
          {"differing", result.differing()},
          {"first_difference", to_json(result.first_difference())},
          {"same_class", result.same_class}};
}

int run(const VerifyOptions& o, Streams& streams) {
  const program::Verification result = verify(o, streams);
  if (o.json) {
    print_json(to_json(result), streams.out);
  } else {
    print_result(result, streams.out);
  }
  if (result.layers.empty()) {
    streams.err << "note: no layer of the network ends in integers, so that classes alone were compared.\n";
  }
  return result.is_equal() ? kOk : kFailed;
}

}  // namespace

Run declare_verify(CLI::App& app) {
  auto o = std::make_shared<VerifyOptions>();
  add_model(app, o->model);
  add_data_options(app, o->data);
  add_weights(app, o->model);
  add_program_options(app, o->program);
  add_executor_option(app, o->executor);
  app.add_option("--samples", o->samples, "Only the first of the test samples; 0: all")
      ->check(between(0, 1 << 30))
      ->capture_default_str();
  app.add_option("--threads", o->threads)->check(between(1, 1024))->capture_default_str();
  app.add_flag("--json", o->json, "Print the comparison as JSON, with the first difference");
  return [o](Streams& streams) { return run(*o, streams); };
}

}  // namespace nibble::cli
