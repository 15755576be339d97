// nibble/program/executor.h
// Runs an integer program: the definition, in plain loops, one sample at a time. program/fast/ is quicker and gives
// the same integers.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "nibble/core/error.h"
#include "nibble/core/tensor.h"
#include "nibble/program/program.h"

namespace nibble::program {

// Of a value, one sample. All but sums and what moves them (is_wide) fit 32 bits.
using Integers = std::vector<int64_t>;

// An element of the network's input that has no code.
class NanInput : public InvalidArgument {
 public:
  //   sample  counted from the first that run() was given, from 0; so is the element in its sample
  NanInput(int64_t sample, int64_t element)
      : InvalidArgument(
            "[run] sample {}: element {} of the input is NaN, which has no code. Replace it, or leave the "
            "sample out.",
            sample, element),
        sample_(sample),
        element_(element) {}

  int64_t sample() const { return sample_; }
  int64_t element() const { return element_; }

 private:
  int64_t sample_, element_;
};

// Runs samples from number `first` on, so that what is said of one has its number among all.
template <class Call>
void count_samples_from(int64_t first, const Call& run) {
  try {
    run();
  } catch (const NanInput& nan) {
    throw NanInput(first + nan.sample(), nan.element());
  }
}

// One who runs a program.
class Runner {
 public:
  virtual ~Runner() = default;
  //   x        [count, input shape]
  //   outputs  [count, output shape]
  //   throws   NanInput
  virtual void run(std::span<const float> x, int64_t count, std::span<float> outputs) = 0;
  // The integers of an operation, of the last sample that was run.
  virtual Integers result(int operation) const = 0;
};

class Executor final : public Runner {
 public:
  // The program must outlive this and be valid.
  explicit Executor(const Program& program);

  //   sample   input_shape() floats
  //   output   output_shape() floats
  void run(std::span<const float> sample, std::span<float> output);

  void run(std::span<const float> x, int64_t count, std::span<float> outputs) override;
  Integers result(int operation) const override { return results_[static_cast<size_t>(operation)]; }

 private:
  const Program& program_;
  std::vector<Integers> results_;
};

// x [n, input shape] -> [n, output shape]
//   throws  InvalidArgument for another shape; NanInput
Tensor run(const Program& program, const Tensor& x);
Tensor run(const Program& program, Runner& runner, const Tensor& x);

// ---- parts, for other runners ----------------------------------------------------------

// What one operation does to one sample.
//   inputs  of each of operation.inputs, the integers
//   sample  the network's input; read by QuantizeInput only
//   out     operation.result.shape.elements() integers
//   throws  NanInput of sample 0
void run_operation(const Program& program, const Operation& operation, const std::vector<const Integers*>& inputs,
                   std::span<const float> sample, Integers& out);

// The network's output from the last integers: to_real and softmax.
void finish_output(const Program& program, std::span<const int64_t> integers, std::span<float> output);

}  // namespace nibble::program
