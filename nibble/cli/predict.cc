// nibble predict: the outputs for inputs in a .npy file.
#include <CLI/CLI.hpp>

#include "nibble/cli/command.h"
#include "nibble/cli/limits.h"
#include "nibble/cli/model_argument.h"
#include "nibble/data/npy.h"
#include "nibble/train/trainer.h"

namespace nibble::cli {
namespace {

struct PredictOptions {
  ModelArgument model;
  std::filesystem::path input, output;
  int64_t batch_size = 1024;
  int threads = 1;
};

int run(const PredictOptions& o, Streams& streams) {
  const graph::Model model = load_with_weights(o.model);
  graph::require_calibrated(model, "predict");
  const Tensor x = data::read_npy(o.input);
  if (x.shape().rank() < 1) {
    throw InvalidArgument("'{}' holds a single number; expected an array whose first axis counts the samples.",
                          o.input.string());
  }
  train::Trainer trainer(model, {.threads = o.threads});
  const Tensor y = trainer.predict(x, o.batch_size);
  data::write_npy(o.output, y);
  streams.err << fmt::format("wrote {} of shape {}\n", o.output.string(), y.shape().str());
  return kOk;
}

}  // namespace

Run declare_predict(CLI::App& app) {
  auto o = std::make_shared<PredictOptions>();
  add_model(app, o->model);
  add_weights(app, o->model);
  app.add_option("--input,-i", o->input,
                 "Samples as the network sees them: [n, height, width, channels], or flat: [n, elements]")
      ->required()
      ->type_name("X.npy");
  app.add_option("--output,-o", o->output, "Outputs: [n, ...], float32")->required()->type_name("Y.npy");
  app.add_option("--batch-size", o->batch_size)->check(between(1, 1 << 20))->capture_default_str();
  app.add_option("--threads", o->threads)->check(between(1, 1024))->capture_default_str();
  return [o](Streams& streams) { return run(*o, streams); };
}

}  // namespace nibble::cli
