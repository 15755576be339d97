#include "nibble/train/distillation.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"
#include "nibble/graph/layer_schema.h"
#include "nibble/train/trainer.h"

namespace nibble::train {
namespace {

// A network that was never trained teaches noise.
void check_weights(const graph::Model& teacher) {
  for (const graph::Layer& layer : teacher.layers) {
    const graph::LayerSchema* schema = graph::find_schema(layer.class_name);
    if (schema == nullptr || schema->weights == nullptr || !layer.weights.empty()) continue;
    throw InvalidArgument("[distillation] layer '{}' of the teacher '{}' has no weights; train the teacher first.",
                          layer.name, teacher.name);
  }
}

void check_probabilities(const graph::Model& teacher, std::span<const float> rows, int64_t classes) {
  constexpr double kTolerance = 1e-3;  // outputs of few bits do not add up to 1 exactly
  for (size_t at = 0; at < rows.size(); at += static_cast<size_t>(classes)) {
    const auto row = rows.subspan(at, static_cast<size_t>(classes));
    double sum = 0;
    for (const float value : row) sum += value;
    if (std::abs(sum - 1) <= kTolerance && *std::min_element(row.begin(), row.end()) >= 0) continue;
    throw InvalidArgument(
        "[distillation] the teacher '{}' does not give probabilities: for sample {} its {} values add up to {}, the "
        "least of them is {}. End it with a softmax.",
        teacher.name, at / static_cast<size_t>(classes), classes, sum, *std::min_element(row.begin(), row.end()));
  }
}

}  // namespace

Tensor teacher_outputs(const graph::Model& teacher, const data::Samples& samples, int threads) {
  constexpr int64_t kBatch = 1024;
  check_weights(teacher);
  Trainer trainer(teacher, {.threads = threads});
  std::vector<float> rows;
  int64_t classes = 0;
  // No samples are one empty batch, which tells how many classes there are.
  for (int64_t begin = 0; begin == 0 || begin < samples.count(); begin += kBatch) {
    std::vector<int64_t> indices;
    for (int64_t i = begin; i < std::min(begin + kBatch, samples.count()); ++i) indices.push_back(i);
    Tensor x(Shape{std::ssize(indices), samples.shape().elements()});
    samples.gather(indices, x.data());
    const Tensor y = trainer.predict(x, kBatch);
    if (y.shape().rank() != 2) {
      throw InvalidArgument("[distillation] the teacher '{}' gives {} for {} samples; it must give one value a class.",
                            teacher.name, y.shape().str(), indices.size());
    }
    classes = y.shape()[1];
    check_probabilities(teacher, y.data(), classes);
    rows.insert(rows.end(), y.data().begin(), y.data().end());
  }
  return Tensor(Shape{samples.count(), classes}, std::move(rows));
}

}  // namespace nibble::train
