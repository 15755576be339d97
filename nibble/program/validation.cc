// Programs come from files: nothing in one is taken on trust.
#include "nibble/core/error.h"
#include "nibble/program/operation_check.h"
#include "nibble/program/program.h"

namespace nibble::program {
namespace {

struct StageCheck {
  int64_t channels;
  bool fits(const PerChannel& values) const {
    return values.size() == 1 || static_cast<int64_t>(values.size()) == channels;
  }
  bool operator()(const Affine& s) const { return fits(s.multiplier) && fits(s.offset); }
  bool operator()(const Offset& s) const { return fits(s.value); }
  bool operator()(const Divide&) const { return true; }
  bool operator()(const Multiply&) const { return true; }
  bool operator()(const Rectify&) const { return true; }
  bool operator()(const Curve&) const { return true; }
  bool operator()(const Slope& s) const { return fits(s.below); }
  bool operator()(const Elu&) const { return true; }
};

// Shapes are a few bytes in a file, and an executor holds every operation's integers at once: the reference one with
// 8 bytes each. The limit is some twenty times what a ResNet-50 takes at 224 x 224.
constexpr int64_t kMostIntegers = int64_t{1} << 30;

// Plans go through chains of operations by recursion, and over all of them for each. A ResNet-1001 has some 4000.
constexpr size_t kMostOperations = 1 << 13;

void require_memory(const Program& program) {
  int64_t total = 0;
  size_t largest = 0;
  for (size_t i = 0; i < program.operations.size(); ++i) {
    const auto count = [&](size_t of) { return program.operations[of].result.shape.elements(); };
    total += count(i);  // each at most 2^31, as was checked
    if (count(i) > count(largest)) largest = i;
  }
  if (total <= kMostIntegers) return;
  const Operation& operation = program.operations[largest];
  throw CorruptFile(
      "[program] its {} operations hold {} integers for a sample, which would take {} MiB; {} integers are allowed. "
      "The "
      "largest is operation {} ({}, layer '{}') with the shape {}. A smaller input makes all of them smaller.",
      program.operations.size(), total, total / ((1 << 20) / static_cast<int64_t>(sizeof(int64_t))), kMostIntegers,
      largest, name_of(operation.action), operation.layer, operation.result.shape.str());
}

}  // namespace

void validate(const Program& program) {
  if (program.operations.size() > kMostOperations) {
    throw CorruptFile("[program] it has {} operations; {} are allowed. Split the network into several programs.",
                      program.operations.size(), kMostOperations);
  }
  for (size_t i = 0; i < program.operations.size(); ++i) check_operation(program, i);
  require_memory(program);
  if (program.output < 0 || program.output >= static_cast<int>(program.operations.size())) {
    throw CorruptFile("[program] its output is operation {} of {}.", program.output, program.operations.size());
  }
  const int64_t channels = program.operations[static_cast<size_t>(program.output)].result.channels();
  for (const Stage& stage : program.to_real.stages()) {
    if (!std::visit(StageCheck{channels}, stage)) {
      throw CorruptFile("[program] the function at its end does not fit {} channels.", channels);
    }
  }
}

}  // namespace nibble::program
