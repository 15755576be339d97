#include "nibble/cli/loss_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "nibble/cli/choices.h"
#include "nibble/core/nearest_name.h"
#include "nibble/train/loss_names.h"

namespace nibble::cli {
namespace {

train::Target chosen_target(const LossOptions& options) {
  return choose<train::Target>("--target", options.target,
                               {{"label", train::Target::kLabel}, {"input", train::Target::kInput}});
}

}  // namespace

void add_loss_options(CLI::App& app, LossOptions& options) {
  app.add_option(
         "--loss", options.loss,
         "By Keras' names: mean_squared_error (mse), mean_absolute_error (mae), huber, binary_crossentropy, ... "
         "Default: categorical_crossentropy where the data have classes, else mean_squared_error")
      ->type_name("NAME");
  app.add_option("--target", options.target,
                 "What the outputs are compared with: label (or the data's numbers), or input, of an autoencoder")
      ->type_name("WHAT")
      ->capture_default_str();
}

void check(const LossOptions& options) {
  const train::Target target = chosen_target(options);
  const std::vector<std::string> names = train::loss_names();
  if (!options.loss.empty() && std::find(names.begin(), names.end(), options.loss) == names.end()) {
    throw UsageError("there is no loss '{}'. {}", options.loss, suggest(options.loss, names));
  }
  const bool compares_classes =
      !options.loss.empty() && train::loss_named(options.loss) == train::LossKind::kCrossEntropy;
  if (target == train::Target::kInput && compares_classes) {
    throw UsageError("--target input needs a loss that compares numbers, such as --loss mse; {} compares classes.",
                     options.loss);
  }
}

void set_loss(const LossOptions& options, const data::Dataset& dataset, train::CompileOptions& compile) {
  compile.target = chosen_target(options);
  if (!options.loss.empty()) {
    compile.loss = train::loss_named(options.loss);
  } else {
    compile.loss = compile.target == train::Target::kInput ? train::LossKind::kMeanSquaredError
                                                           : train::natural_loss(dataset.train);
  }
}

std::string told(const train::Evaluation& evaluation, train::LossKind loss) {
  if (loss == train::LossKind::kCrossEntropy) {
    return fmt::format("loss {:.4f}, accuracy {:.4f}", evaluation.loss, evaluation.accuracy);
  }
  const double named = loss == train::LossKind::kMeanSquaredError    ? evaluation.mse
                       : loss == train::LossKind::kMeanAbsoluteError ? evaluation.mae
                                                                     : evaluation.loss;
  // Regularizers add to the loss and not to the two errors.
  std::string text = named == evaluation.loss ? "" : fmt::format("loss {:.6g}, ", evaluation.loss);
  text += fmt::format("{} {:.6g}", train::loss_name(loss), named);
  if (loss != train::LossKind::kMeanSquaredError) text += fmt::format(", mean_squared_error {:.6g}", evaluation.mse);
  if (loss != train::LossKind::kMeanAbsoluteError) text += fmt::format(", mean_absolute_error {:.6g}", evaluation.mae);
  return evaluation.has_accuracy ? text + fmt::format(", accuracy {:.4f}", evaluation.accuracy) : text;
}

void add_figures(nlohmann::json& to, const std::string& prefix, const train::Evaluation& evaluation,
                 train::LossKind loss) {
  to[prefix + "loss"] = evaluation.loss;
  to[prefix + "accuracy"] = evaluation.has_accuracy ? nlohmann::json(evaluation.accuracy) : nlohmann::json();
  if (loss == train::LossKind::kCrossEntropy) return;
  if (loss == train::LossKind::kBinaryCrossEntropy && evaluation.has_accuracy) {
    to[prefix + "binary_accuracy"] = evaluation.accuracy;
  }
  to[prefix + std::string(train::loss_name(loss))] = evaluation.loss;
  to[prefix + "mean_squared_error"] = evaluation.mse;
  to[prefix + "mean_absolute_error"] = evaluation.mae;
}

void add_training_errors(nlohmann::json& to, const train::History& history) {
  if (history.empty() || !history.back().mse) return;
  to["mean_squared_error"] = *history.back().mse;
  to["mean_absolute_error"] = *history.back().mae;
}

}  // namespace nibble::cli
