// Ends trials that do worse than others did at the same step, whatever chose them.
//
// Successive halving across trials, asynchronously [Li et al. 2020, "A System for Massively Parallel Hyperparameter
// Tuning"]: after min_steps * factor^k steps a trial goes on if its best score so far is among the best
// max(1, floor(n / factor)) of the n trials that got that far. What it is compared with are the trials
// that came so far by then, so with several workers it depends on which were faster.
#pragma once

#include <span>

namespace nibble::search {

class Pruner {
 public:
  virtual ~Pruner() = default;
  // True if there may be a decision after this step; only then others' scores need to be read.
  virtual bool decides_at(int step) const = 0;
  // True if the trial should end.
  //   best    its highest score up to `step`
  //   others  the same of each other trial that reported that step
  virtual bool should_stop(int step, double best, std::span<const double> others) const = 0;
};

struct SuccessiveHalvingOptions {
  int min_steps = 1;  // >= 1
  int factor = 3;     // >= 2
};

class SuccessiveHalvingPruner final : public Pruner {
 public:
  //   throws  InvalidArgument for options out of range
  explicit SuccessiveHalvingPruner(SuccessiveHalvingOptions options);

  bool decides_at(int step) const override;
  bool should_stop(int step, double best, std::span<const double> others) const override;

 private:
  SuccessiveHalvingOptions options_;
};

}  // namespace nibble::search
