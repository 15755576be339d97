#include "nibble/cli/training_choices.h"

#include "nibble/cli/choices.h"

namespace nibble::cli {

train::OptimizerKind chosen_optimizer(const std::string& text) {
  return choose<train::OptimizerKind>("--optimizer", text,
                                      {{"adam", train::OptimizerKind::kAdam}, {"sgd", train::OptimizerKind::kSgd}});
}

train::BatchNormStatistics chosen_statistics(const std::string& text) {
  return choose<train::BatchNormStatistics>(
      "--batch-norm-statistics", text,
      {{"reestimated", train::BatchNormStatistics::kReestimated}, {"moving", train::BatchNormStatistics::kMoving}});
}

train::ScheduleKind chosen_schedule(const std::string& text) {
  return choose<train::ScheduleKind>(
      "--schedule", text, {{"constant", train::ScheduleKind::kConstant}, {"cosine", train::ScheduleKind::kCosine}});
}

}  // namespace nibble::cli
