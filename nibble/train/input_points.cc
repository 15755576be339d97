// find_input_points(): which codes a convolution, Dense or average reads.
#include "nibble/train/plan.h"

namespace nibble::train {
namespace {

bool sums_values(const Step& step) {
  return step.kind == StepKind::kConvolution || step.kind == StepKind::kDense || step.kind == StepKind::kAveragePool ||
         step.kind == StepKind::kGlobalAveragePool;
}

bool only_drops(const Prologue& prologue) { return prologue.batch_norm_layer < 0 && !prologue.activation; }

// Values of the step's output are values of its input, or 0.
bool moves_values(const Step& step) {
  switch (step.kind) {
    case StepKind::kMaxPool:
    case StepKind::kReshape:
    case StepKind::kPad:
    case StepKind::kPermute:
    case StepKind::kDropout:
      return true;
    case StepKind::kFused:
      return step.prologue && only_drops(*step.prologue);
    default:
      return false;
  }
}

}  // namespace

void find_input_points(Plan& plan) {
  for (Step& step : plan.steps) {
    if (!sums_values(step)) continue;
    if (step.prologue && !only_drops(*step.prologue)) continue;
    int at = step.inputs[0];
    while (moves_values(plan.steps[static_cast<size_t>(at)])) at = plan.steps[static_cast<size_t>(at)].inputs[0];
    if (plan.steps[static_cast<size_t>(at)].kind == StepKind::kFakeQuant) step.input_point = at;
  }
}

}  // namespace nibble::train
