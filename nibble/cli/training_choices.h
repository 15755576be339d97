// nibble/cli/training_choices.h
// Options that every training command has, from their texts.
#pragma once

#include <string>

#include "nibble/train/trainer.h"

namespace CLI {
class App;
}

namespace nibble::cli {

// All throw UsageError with the texts that are known.
train::OptimizerKind chosen_optimizer(const std::string& text);         // --optimizer
train::BatchNormStatistics chosen_statistics(const std::string& text);  // --batch-norm-statistics
train::ScheduleKind chosen_schedule(const std::string& text);           // --schedule

// --validation-freq, 1 where it is not given
void add_validation_freq(CLI::App& app, int& epochs);

// --augment, whose text is "none" where it is not given
//   which  of several trainings, with the option's name
void add_augment_option(CLI::App& app, std::string& text, const std::string& option = "--augment",
                        const std::string& which = "");
//   throws  UsageError naming the option
data::Augmentation chosen_augmentation(const std::string& text, const std::string& option = "--augment");

}  // namespace nibble::cli
