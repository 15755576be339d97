// find_input_points(): which codes a convolution, Dense, average or Add reads, and what leaves its sums to the next
// quantizer.
#include <algorithm>

#include "nibble/train/plan.h"

namespace nibble::train {
namespace {

bool sums_values(const Step& step) {
  return step.kind == StepKind::kConvolution || step.kind == StepKind::kDense || step.kind == StepKind::kAveragePool ||
         step.kind == StepKind::kGlobalAveragePool || step.sums_products;
}

bool is_linear(const Activation& activation) { return activation.function == "linear"; }

// In inference it changes no value.
bool only_drops(const Prologue& prologue) {
  return prologue.batch_norm_layer < 0 && (!prologue.activation || is_linear(*prologue.activation));
}

// Values of the step's output are values of its input, or 0.
bool moves_values(const Step& step) {
  switch (step.kind) {
    case StepKind::kMaxPool:
    case StepKind::kReshape:
    case StepKind::kPad:
    case StepKind::kPermute:
    case StepKind::kDropout:
      return true;
    case StepKind::kActivation:
      return is_linear(step.activation);
    case StepKind::kLayer:
      return step.moves_values;
    case StepKind::kFused:
      return step.prologue && only_drops(*step.prologue);
    default:
      return false;
  }
}

bool is_relu(const Activation& activation) {
  if (activation.function == "relu6") return true;
  return activation.function == "relu" && activation.negative_slope == 0.0 && activation.threshold == 0.0;
}

// As integer programs see it (program/lowering_rules.h, Signal::sum_divisor). Channels stay where they are.
bool keeps_sums(const Plan& plan, const Step& step, const graph::Model& model) {
  if (step.inputs.size() != 1) return false;
  const Shape& input = plan.steps[static_cast<size_t>(step.inputs[0])].shape;
  switch (step.kind) {
    case StepKind::kMaxPool:
    case StepKind::kDropout:
      return true;
    case StepKind::kReshape:
      return input.rank() > 0 && step.shape.rank() > 0 && input[-1] == step.shape[-1];
    case StepKind::kActivation:
      return is_linear(step.activation) || is_relu(step.activation);
    case StepKind::kFused:
      return step.prologue && step.prologue->batch_norm_layer < 0 &&
             (!step.prologue->activation || is_linear(*step.prologue->activation) ||
              is_relu(*step.prologue->activation));
    case StepKind::kLayer: {
      const graph::Layer& layer = model.layers[static_cast<size_t>(step.layer)];
      if (!step.moves_values || layer.class_name != "Permute") return step.moves_values;
      return input.rank() > 0 && layer.get_ints("dims").back() == input.rank();
    }
    default:
      return false;
  }
}

// The kFakeQuant step whose values `step` gives; -1: none.
int point_behind(const Plan& plan, int step) {
  while (moves_values(plan.steps[static_cast<size_t>(step)])) step = plan.steps[static_cast<size_t>(step)].inputs[0];
  return plan.steps[static_cast<size_t>(step)].kind == StepKind::kFakeQuant ? step : -1;
}

void find_points_of_add(const Plan& plan, Step& step) {
  for (const int input : step.inputs) step.input_points.push_back(point_behind(plan, input));
  if (std::find(step.input_points.begin(), step.input_points.end(), -1) != step.input_points.end()) {
    step.input_points.clear();
  }
}

}  // namespace

void find_input_points(Plan& plan, const graph::Model& model) {
  for (Step& step : plan.steps) {
    step.keeps_sums = keeps_sums(plan, step, model);
    if (step.kind == StepKind::kAdd) find_points_of_add(plan, step);
    if (!sums_values(step)) continue;
    if (step.prologue && !only_drops(*step.prologue)) continue;
    step.input_point = point_behind(plan, step.inputs[0]);
  }
}

}  // namespace nibble::train
