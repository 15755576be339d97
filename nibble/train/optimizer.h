// nibble/train/optimizer.h
// Adam and SGD with Keras' formulas, on plain memory.
//
//   Adam  t += 1;  m = b1*m + (1-b1)*g;  v = b2*v + (1-b2)*g^2
//         w -= lr * sqrt(1-b2^t)/(1-b1^t) * m / (sqrt(v) + epsilon)      [Kingma & Ba 2015, section 2 end]
//   SGD   velocity = momentum*velocity - lr*g;  w += velocity
//         (nesterov: w += momentum*velocity - lr*g)
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "nibble/train/trainer.h"

namespace nibble::train {

class Optimizer {
 public:
  // sizes: number of values of each parameter
  Optimizer(const CompileOptions& options, const std::vector<int64_t>& sizes);

  // One step for all parameters: begin_step(), then update() for each.
  void begin_step(double learning_rate);
  //   factor  of this parameter's learning rate
  void update(size_t parameter, std::span<float> values, std::span<const float> gradient, float factor = 1.0f);

  // Everything that has to be kept to go on later, in order; one vector a parameter and slot.
  struct State {
    int64_t step = 0;
    std::vector<std::vector<float>> slots;
  };
  State state() const { return state_; }
  //   throws  CorruptFile if the sizes are not this optimizer's
  void restore(State state);

 private:
  CompileOptions options_;
  size_t parameters_;
  State state_;  // Adam: all m, then all v; SGD: all velocities, or nothing without momentum
  float rate_ = 0.0f;
};

}  // namespace nibble::train
