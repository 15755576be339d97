#include "nibble/cli/distillation_options.h"

#include <algorithm>

#include "nibble/cli/limits.h"
#include "nibble/cli/model_argument.h"
#include "nibble/graph/layer_quantization.h"

namespace nibble::cli {
namespace {

// Samples of which the teacher's most probable class is the label.
int64_t count_right(const Tensor& outputs, std::span<const int32_t> labels) {
  const auto classes = static_cast<size_t>(outputs.shape()[1]);
  int64_t right = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    const auto row = outputs.data().subspan(i * classes, classes);
    right += std::max_element(row.begin(), row.end()) - row.begin() == labels[i] ? 1 : 0;
  }
  return right;
}

}  // namespace

void add_teaching_options(CLI::App& app, CLI::Option* teacher, double& weight, double& temperature) {
  app.add_option("--teacher-weight", weight, "How much of the loss is the teacher's; the rest is the labels'")
      ->check(between(0.0, 1.0))
      ->needs(teacher)
      ->capture_default_str();
  app.add_option("--temperature", temperature, "Above 1 the teacher's outputs are softer, below 1 sharper")
      ->check(positive())
      ->needs(teacher)
      ->capture_default_str();
}

void add_distillation_options(CLI::App& app, DistillationOptions& options) {
  CLI::Option* teacher =
      app.add_option("--teacher", options.teacher,
                     "Learn from the outputs of this trained model too, a file or a folder written by 'nibble train'")
          ->type_name("FILE.keras");
  add_teaching_options(app, teacher, options.weight, options.temperature);
}

std::optional<train::Distillation> learn_from_teacher(const DistillationOptions& options, const data::Dataset& dataset,
                                                      int threads, Streams& streams) {
  if (options.teacher.empty()) return std::nullopt;
  const graph::Model teacher = load_with_weights({.model = options.teacher, .weights = {}});
  graph::require_calibrated(teacher, "teacher");
  train::Distillation result{.outputs = train::teacher_outputs(teacher, dataset.train, threads),
                             .weight = options.weight,
                             .temperature = options.temperature,
                             .teacher = std::make_shared<const graph::Model>(teacher)};
  if (const auto count = std::ssize(dataset.train.labels()); count > 0) {
    streams.err << fmt::format(
        "teacher: {}, accuracy {:.4f} on the training samples\n", teacher.name,
        static_cast<double>(count_right(result.outputs, dataset.train.labels())) / static_cast<double>(count));
  }
  return result;
}

}  // namespace nibble::cli
