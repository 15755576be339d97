#include "nibble/cli/training_choices.h"

#include <CLI/CLI.hpp>

#include "nibble/cli/choices.h"
#include "nibble/cli/command.h"
#include "nibble/cli/limits.h"

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

void add_validation_freq(CLI::App& app, int& epochs) {
  app.add_option("--validation-freq", epochs,
                 "Evaluate after every so many epochs, and after the last: 5 after epochs 5, 10, ...")
      ->check(between(1, 1000000))
      ->type_name("EPOCHS")
      ->capture_default_str();
}

void add_augment_option(CLI::App& app, std::string& text, const std::string& option, const std::string& which) {
  app.add_option(option, text,
                 fmt::format("{}hange the images that are trained on, anew in each epoch: flip (mirrored, half of "
                             "them), shift=N (by up to N pixels each way), or both: flip,shift=2",
                             which.empty() ? "C" : which + ": c"))
      ->type_name("LIST")
      ->capture_default_str();
}

data::Augmentation chosen_augmentation(const std::string& text, const std::string& option) {
  try {
    return data::parse_augmentation(text);
  } catch (const InvalidArgument& error) {
    throw UsageError("{}: {}", option, error.what());
  }
}

}  // namespace nibble::cli
