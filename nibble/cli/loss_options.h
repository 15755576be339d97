// nibble/cli/loss_options.h
// What a network is trained for and judged by, for commands that train and evaluate.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "nibble/cli/command.h"
#include "nibble/train/trainer.h"

namespace CLI {
class App;
}

namespace nibble::cli {

struct LossOptions {
  std::string loss;  // empty: what suits the data
  std::string target = "label";
};

// --loss, --target
void add_loss_options(CLI::App& app, LossOptions& options);

// throws UsageError for unknown words, before anything takes time
void check(const LossOptions& options);

// Sets loss and target; without --loss cross-entropy of classes, and the mean squared error of anything else.
void set_loss(const LossOptions& options, const data::Dataset& dataset, train::CompileOptions& compile);

// "loss 0.1234, accuracy 0.9876", or of an error "mean_absolute_error 0.1234, mean_squared_error 0.0567", the
// loss before that where regularizers add to it.
std::string told(const train::Evaluation& evaluation, train::LossKind loss);

// Adds PREFIXloss and PREFIXaccuracy (or binary_accuracy; null where nothing can be right or wrong), and of an error
// its own name, mean_squared_error and mean_absolute_error.
void add_figures(nlohmann::json& to, const std::string& prefix, const train::Evaluation& evaluation,
                 train::LossKind loss);

// Adds mean_squared_error and mean_absolute_error of the last epoch's training, where the loss is an error.
void add_training_errors(nlohmann::json& to, const train::History& history);

}  // namespace nibble::cli
