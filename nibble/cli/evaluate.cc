// nibble evaluate: loss and accuracy, or errors, on the test split.
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "nibble/cli/command.h"
#include "nibble/cli/data_options.h"
#include "nibble/cli/limits.h"
#include "nibble/cli/loss_options.h"
#include "nibble/cli/model_argument.h"
#include "nibble/cli/table.h"
#include "nibble/train/trainer.h"

namespace nibble::cli {
namespace {

struct EvaluateOptions {
  ModelArgument model;
  DataOptions data;
  LossOptions loss;
  int64_t batch_size = 1024;
  int threads = 1;
  bool json = false;
};

int run(const EvaluateOptions& o, Streams& streams) {
  check(o.loss);
  const graph::Model model = load_with_weights(o.model);
  graph::require_calibrated(model, "evaluate");
  const data::Dataset dataset = load(o.data, streams);
  train::CompileOptions compile{.threads = o.threads};
  set_loss(o.loss, dataset, compile);
  train::Trainer trainer(model, compile);
  const train::Evaluation result = trainer.evaluate(dataset.test, o.batch_size);
  if (o.json) {
    nlohmann::json figures = {{"samples", dataset.test.count()}};
    add_figures(figures, "", result, compile.loss);
    print_json(figures, streams.out);
  } else {
    streams.out << fmt::format("{} on {} samples\n", told(result, compile.loss), dataset.test.count());
  }
  return kOk;
}

}  // namespace

Run declare_evaluate(CLI::App& app) {
  auto o = std::make_shared<EvaluateOptions>();
  add_model(app, o->model);
  add_data_options(app, o->data);
  add_loss_options(app, o->loss);
  add_weights(app, o->model);
  app.add_option("--batch-size", o->batch_size)->check(between(1, 1 << 20))->capture_default_str();
  app.add_option("--threads", o->threads)->check(between(1, 1024))->capture_default_str();
  app.add_flag("--json", o->json, "Print {\"loss\", \"accuracy\", \"samples\"}, and errors by their names");
  return [o](Streams& streams) { return run(*o, streams); };
}

}  // namespace nibble::cli
