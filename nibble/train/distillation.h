// nibble/train/distillation.h
// Knowledge distillation: a small network learns from what a trained one, its teacher, gives for the same samples.
//
//   loss  (1 - weight) * cross-entropy(labels) + weight * T^2 * KL(teacher_T || student_T)
//   x_T   softmax(log x / T) of probabilities x; T^2 keeps the gradients' size where T changes
//                                        [Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network"]
#pragma once

#include <memory>

#include "nibble/core/tensor.h"
#include "nibble/data/dataset.h"
#include "nibble/graph/model.h"

namespace nibble::train {

// Of FitOptions. Losses that training reports are the sum above, those of an evaluation the cross-entropy alone.
struct Distillation {
  Tensor outputs = {};       // of the teacher for each training sample, [samples, classes]: probabilities
  double weight = 0.9;       // of the teacher: 0 .. 1; 0 leaves it out, 1 the labels
  double temperature = 2.0;  // T, above 0
  // The teacher itself. Where FitOptions::augmentation changes the images it is needed and computes each batch as the
  // student sees it, in the inference phase; `outputs`, of the unchanged samples, then only tell teachers apart
  // (checkpoints).
  std::shared_ptr<const graph::Model> teacher = nullptr;
};

// What `teacher` gives for all samples, in their order: once is enough where training changes no sample.
//   returns  [samples, classes]
//   throws   InvalidArgument if a layer of the teacher has no weights, if it does not take the samples, or does not
//            give probabilities: values of 0 or more that add up to 1 (within 1e-3)
Tensor teacher_outputs(const graph::Model& teacher, const data::Samples& samples, int threads = 1);

}  // namespace nibble::train
