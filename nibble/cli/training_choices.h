// nibble/cli/training_choices.h
// Options that every training command has, from their texts.
#pragma once

#include <string>

#include "nibble/train/trainer.h"

namespace nibble::cli {

// All throw UsageError with the texts that are known.
train::OptimizerKind chosen_optimizer(const std::string& text);         // --optimizer
train::BatchNormStatistics chosen_statistics(const std::string& text);  // --batch-norm-statistics
train::ScheduleKind chosen_schedule(const std::string& text);           // --schedule

}  // namespace nibble::cli
