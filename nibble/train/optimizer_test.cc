#include "nibble/train/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>

namespace nibble::train {
namespace {

struct OptimizerCase {
  const char* name;
  CompileOptions options;
  // The formula, written once more in double: returns the values after the given gradients.
  std::function<double(double, const std::vector<double>&)> formula;
};

std::vector<OptimizerCase> cases() {
  CompileOptions adam;
  adam.learning_rate = 0.1;
  CompileOptions sgd;
  sgd.optimizer = OptimizerKind::kSgd;
  sgd.learning_rate = 0.1;
  CompileOptions momentum = sgd;
  momentum.momentum = 0.9;
  CompileOptions nesterov = momentum;
  nesterov.nesterov = true;
  return {
      {"Adam", adam,
       [](double w, const std::vector<double>& gradients) {
         double m = 0, v = 0;
         for (size_t i = 0; i < gradients.size(); ++i) {
           const double t = static_cast<double>(i) + 1, g = gradients[i];
           m = 0.9 * m + 0.1 * g;
           v = 0.999 * v + 0.001 * g * g;
           w -= 0.1 * std::sqrt(1 - std::pow(0.999, t)) / (1 - std::pow(0.9, t)) * m / (std::sqrt(v) + 1e-7);
         }
         return w;
       }},
      {"Sgd", sgd,
       [](double w, const std::vector<double>& gradients) {
         for (double g : gradients) w -= 0.1 * g;
         return w;
       }},
      {"Momentum", momentum,
       [](double w, const std::vector<double>& gradients) {
         double velocity = 0;
         for (double g : gradients) {
           velocity = 0.9 * velocity - 0.1 * g;
           w += velocity;
         }
         return w;
       }},
      {"Nesterov", nesterov,
       [](double w, const std::vector<double>& gradients) {
         double velocity = 0;
         for (double g : gradients) {
           velocity = 0.9 * velocity - 0.1 * g;
           w += 0.9 * velocity - 0.1 * g;
         }
         return w;
       }},
  };
}

class OptimizerFormula : public testing::TestWithParam<OptimizerCase> {};

TEST_P(OptimizerFormula, FollowsKeras) {
  const std::vector<double> gradients = {0.5, -0.25, 1.0, 0.125, -2.0};
  Optimizer optimizer(GetParam().options, {1});
  float w = 0.75f;
  for (double g : gradients) {
    const auto gradient = static_cast<float>(g);
    optimizer.begin_step(GetParam().options.learning_rate);
    optimizer.update(0, {&w, 1}, {&gradient, 1});
  }
  EXPECT_NEAR(w, GetParam().formula(0.75, gradients), 2e-6);  // float32 against double
}

TEST_P(OptimizerFormula, GoesOnFromItsState) {
  Optimizer undisturbed(GetParam().options, {1}), first(GetParam().options, {1});
  float a = 1.0f, b = 1.0f;
  const auto step = [&](Optimizer& optimizer, float& w, float g) {
    optimizer.begin_step(0.1);
    optimizer.update(0, {&w, 1}, {&g, 1});
  };
  for (float g : {1.0f, -0.5f, 0.25f}) step(undisturbed, a, g);
  for (float g : {1.0f, -0.5f}) step(first, b, g);
  Optimizer second(GetParam().options, {1});
  second.restore(first.state());
  step(second, b, 0.25f);
  EXPECT_EQ(a, b);
}

INSTANTIATE_TEST_SUITE_P(Kinds, OptimizerFormula, testing::ValuesIn(cases()),
                         [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace nibble::train
