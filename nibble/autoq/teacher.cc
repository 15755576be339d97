#include "nibble/autoq/teacher.h"

#include <algorithm>
#include <filesystem>

#include "nibble/core/error.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/layer_quantization.h"

namespace nibble::autoq {
namespace fs = std::filesystem;
namespace {

fs::path file_of(const RunConfig& config) {
  std::error_code ignored;
  fs::path path = config.teacher;
  if (fs::is_directory(path, ignored)) path /= "model.keras";
  if (fs::is_regular_file(path, ignored)) return path;
  throw IoError(
      "[run_config] teacher '{}' is not there; give the file of a trained model, or a folder written by 'nibble "
      "train'.",
      path.string());
}

}  // namespace

std::optional<graph::Model> load_teacher(const RunConfig& config, const graph::Model& student,
                                         const data::Samples& samples) {
  if (config.teacher.empty()) return std::nullopt;
  graph::Model teacher = formats::keras::load_model(file_of(config));
  graph::require_calibrated(teacher, "teacher");
  const Tensor outputs = train::teacher_outputs(teacher, samples.slice(0, std::min<int64_t>(8, samples.count())));
  const int64_t classes = graph::infer_shapes(student).at(student.outputs.at(0)).elements();
  if (outputs.shape()[1] == classes) return teacher;
  throw InvalidArgument("[run_config] teacher '{}' knows {} classes, but model '{}' gives {}; both must know the same.",
                        config.teacher, outputs.shape()[1], config.model, classes);
}

train::Distillation lessons_of(const graph::Model& teacher, const RunConfig& config, const data::Samples& samples) {
  return {.outputs = train::teacher_outputs(teacher, samples),
          .weight = config.teacher_weight,
          .temperature = config.temperature,
          .teacher = std::make_shared<const graph::Model>(teacher)};
}

}  // namespace nibble::autoq
