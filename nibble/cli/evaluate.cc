// nibble evaluate: loss and accuracy on the test split.
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "nibble/cli/command.h"
#include "nibble/cli/data_options.h"
#include "nibble/cli/limits.h"
#include "nibble/cli/model_argument.h"
#include "nibble/cli/table.h"
#include "nibble/train/trainer.h"

namespace nibble::cli {
namespace {

struct EvaluateOptions {
  ModelArgument model;
  DataOptions data;
  int64_t batch_size = 1024;
  int threads = 1;
  bool json = false;
};

int run(const EvaluateOptions& o, Streams& streams) {
  const graph::Model model = load_with_weights(o.model);
  graph::require_calibrated(model, "evaluate");
  const data::Dataset dataset = load(o.data, streams);
  train::Trainer trainer(model, {.threads = o.threads});
  const train::Evaluation result = trainer.evaluate(dataset.test, o.batch_size);
  if (o.json) {
    print_json({{"loss", result.loss}, {"accuracy", result.accuracy}, {"samples", dataset.test.count()}}, streams.out);
  } else {
    streams.out << fmt::format("loss {:.4f}, accuracy {:.4f} on {} samples\n", result.loss, result.accuracy,
                               dataset.test.count());
  }
  return kOk;
}

}  // namespace

Run declare_evaluate(CLI::App& app) {
  auto o = std::make_shared<EvaluateOptions>();
  add_model(app, o->model);
  add_data_options(app, o->data);
  add_weights(app, o->model);
  app.add_option("--batch-size", o->batch_size)->check(between(1, 1 << 20))->capture_default_str();
  app.add_option("--threads", o->threads)->check(between(1, 1024))->capture_default_str();
  app.add_flag("--json", o->json, "Print {\"loss\", \"accuracy\", \"samples\"}");
  return [o](Streams& streams) { return run(*o, streams); };
}

}  // namespace nibble::cli
