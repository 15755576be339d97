// nibble/program/step_bisection.h
// Every step of step functions of an integer, one function a channel, by halving the intervals in which they only rise
// or only fall.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "nibble/program/program.h"

namespace nibble::program {

struct Point {
  int64_t channel, x;
};

struct FunctionStep {
  int64_t x;    // the first integer ...
  float value;  // ... with this result
};

// Of one channel.
struct StepFunction {
  float first_value = 0.0f;  // below the first step
  std::vector<FunctionStep> steps;
};

// The functions' results, one a point: all channels are asked side by side.
using Evaluate = std::function<std::vector<float>(const std::vector<Point>&)>;

// Asks each function at about 2 log2(width) points a step.
//   breaks    rising integers, one or more a channel: between neighbours the function is monotonic; steps outside of
//             the first and last are not looked for
//   too_many  called, to throw, as soon as there are more than most_steps over all channels
std::vector<StepFunction> find_steps(const std::vector<std::vector<int64_t>>& breaks, const Evaluate& evaluate,
                                     int64_t most_steps, const std::function<void()>& too_many);

}  // namespace nibble::program
