// nibble/program/fast/step.h
// One call of a kernel, everything about it known beforehand. Internal to program/fast.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "nibble/kernels/integer/aligned_vector.h"
#include "nibble/program/executor.h"
#include "nibble/program/fast/requantization_plan.h"
#include "nibble/program/fast/tensor_layout.h"
#include "nibble/program/program.h"

namespace nibble::program {

// A value's memory: layout, and bytes for some samples. Values that only change shape share their bytes.
struct TensorMemory {
  TensorLayout layout;
  std::shared_ptr<kernels::AlignedVector<uint8_t>> bytes = std::make_shared<kernels::AlignedVector<uint8_t>>();

  uint8_t* data() const { return bytes->data(); }
};

class Step {
 public:
  virtual ~Step() = default;
  //   x        [samples, input shape]
  virtual void run(std::span<const float> x, int64_t samples) = 0;
  virtual std::string describe() const = 0;
  virtual int64_t prepared_bytes() const { return 0; }
};
using StepPtr = std::unique_ptr<Step>;

// Integers of one sample, row by row without the border.
Integers unpack(const TensorMemory& tensor, int64_t sample);
void pack(std::span<const int64_t> integers, const TensorMemory& tensor, int64_t sample);

// The steps; null where the operation does not fit the kernels. Tensors must not move after this.
//   requantization  of the operation's integers, which are not kept otherwise
StepPtr input_step(const Program& program, const Operation& operation, const TensorMemory& out);
StepPtr sums_step(const Operation& operation, const TensorMemory& in, const TensorMemory& out,
                  RequantizationPlan requantization);
StepPtr depthwise_step(const Operation& operation, const TensorMemory& in, const TensorMemory& out,
                       RequantizationPlan requantization);
// Every integer of `in` is -1 or 1.
StepPtr binary_step(const Operation& operation, const TensorMemory& in, const TensorMemory& out,
                    RequantizationPlan requantization);
StepPtr pool_step(const Operation& operation, const TensorMemory& in, const TensorMemory& out,
                  RequantizationPlan requantization);
// Compare, Scale and Add: the sum of the tensors, each times a whole factor that fits 32 bits.
struct Scaled {
  const TensorMemory* tensor;
  int64_t factor;
};
StepPtr scaled_step(const Operation& operation, const std::vector<Scaled>& terms, const TensorMemory& out,
                    RequantizationPlan requantization);
StepPtr copy_step(const Operation& operation, const std::vector<const TensorMemory*>& ins, const TensorMemory& out);
// As the reference executor, whatever it is.
StepPtr reference_step(const Program& program, const Operation& operation, std::vector<const TensorMemory*> ins,
                       const TensorMemory& out);

std::string_view name_of(kernels::RequantizationKind kind);

// What the border of an operation's input has to be, and the type of its codes at least; nothing for most.
Border border_for(const Action& action);
kernels::CodeType type_for(const Action& action);

}  // namespace nibble::program
