// nibble/program/sample_programs.h
// Programs for tests of files and of validation. Each takes samples [8, 8, 2] and has weights drawn from one seed.
#pragma once

#include <optional>
#include <stdexcept>
#include <string>
#include <variant>

#include "nibble/core/tensor.h"
#include "nibble/program/lowering.h"
#include "nibble/program/program.h"

namespace nibble::program {

// One of each action, but for softmax where it is not asked for.
Program sample_program(SoftmaxForm form = SoftmaxForm::kFloat, std::optional<affine::Rounding> rounding = std::nullopt);

// Comparisons that fall and rise, one for all channels and one each, and an average that overlaps the border.
Program turning_program();

// Sums of 37 bits or so, and a maximum of them.
Program wide_program();

// Cropped, repeated, turned round and compared; a slope at the end.
Program moving_program();

// A transposed convolution whose strides spread its input.
Program transposed_program();

// Uniform in -1 .. 1.
Tensor samples(int64_t count);

// The operation of that kind that a layer became; it must be there.
template <class Action>
Operation& operation_of(Program& program, const std::string& layer) {
  for (Operation& operation : program.operations) {
    if (operation.layer == layer && std::holds_alternative<Action>(operation.action)) return operation;
  }
  throw std::runtime_error("no such operation of " + layer);
}

}  // namespace nibble::program
