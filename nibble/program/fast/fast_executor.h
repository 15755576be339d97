// nibble/program/fast/fast_executor.h
// Runs an integer program with vector code (kernels/integer/): the integers of executor.h, sooner.
//
// Everything is prepared once: weights unpacked and laid out for the dot products, offsets of windows, comparisons with
// thresholds turned into multiplications where that is proven to be the same (line_fit.h). Values of at most 256
// neighbouring integers are bytes. A sum and the comparison after it are one step, whose accumulators never leave the
// cache. What has no fast form runs as in executor.h.
//
// One thread, and not to be shared by several.
#pragma once

#include <memory>

#include "nibble/program/executor.h"

namespace nibble::program {

struct FastOptions {
  // result() is asked for: nothing is merged, so that every operation has its integers. Slower.
  bool keep_results = false;
};

class FastExecutor final : public Runner {
 public:
  // The program must outlive this and be valid.
  explicit FastExecutor(const Program& program, const FastOptions& options = {});
  ~FastExecutor() override;

  //   throws  InvalidArgument if x holds a NaN
  void run(std::span<const float> x, int64_t count, std::span<float> outputs) override;

  //   throws  InvalidArgument without keep_results
  Integers result(int operation) const override;

  // What runs, in order: "conv2d_1: sums of bytes, linear". For people and tests.
  std::vector<std::string> steps() const;
  // Memory of a sample's values: of all, which are held; of those that are needed at one time, at most. And of
  // everything prepared.
  int64_t activation_bytes() const;
  int64_t peak_activation_bytes() const;
  int64_t prepared_bytes() const;

 private:
  class Plan;
  std::unique_ptr<Plan> plan_;
};

}  // namespace nibble::program
