// nibble/program/executor.h
// Runs an integer program: the definition, in plain loops, one sample at a time.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "nibble/core/tensor.h"
#include "nibble/program/program.h"

namespace nibble::program {

class Executor {
 public:
  // The program must outlive this and be valid.
  explicit Executor(const Program& program);

  //   sample   input_shape() floats
  //   output   output_shape() floats
  void run(std::span<const float> sample, std::span<float> output);

  // The integers of an operation after run().
  std::span<const int32_t> result(int operation) const { return results_[static_cast<size_t>(operation)]; }

 private:
  const Program& program_;
  std::vector<std::vector<int32_t>> results_;
};

// x [n, input shape] -> [n, output shape]
//   throws  InvalidArgument for another shape
Tensor run(const Program& program, const Tensor& x);

}  // namespace nibble::program
