// nibble/autoq/teacher.h
// The trained network that all trials of a search learn from, besides the labels (train/distillation.h). Private to
// autoq/.
#pragma once

#include <optional>

#include "nibble/autoq/run_config.h"
#include "nibble/data/dataset.h"
#include "nibble/graph/model.h"
#include "nibble/train/distillation.h"

namespace nibble::autoq {

// config.teacher, tried on a few samples; nothing where there is none.
//   student  what trials are made of
//   throws  IoError if it is not there; InvalidArgument if it is not trained, knows other classes than `student`, or as
//           train::teacher_outputs(); as load_model()
std::optional<graph::Model> load_teacher(const RunConfig& config, const graph::Model& student,
                                         const data::Samples& samples);

// What the teacher gives for the training samples, and how much that counts.
train::Distillation lessons_of(const graph::Model& teacher, const RunConfig& config, const data::Samples& samples);

}  // namespace nibble::autoq
