#include "nibble/cli/experiment_options.h"

#include <CLI/CLI.hpp>

#include "nibble/cli/distillation_options.h"
#include "nibble/cli/limits.h"
#include "nibble/cli/training_choices.h"

namespace nibble::cli {
namespace {

struct Argument {
  std::string name, value;
  bool operator==(const Argument&) const = default;
};

// Of a command that computes the same cells: neither --out nor what changes only how they are computed or told.
std::vector<Argument> arguments_of(const ExperimentOptions& o) {
  const experiment::PtqQatOptions& plan = o.plan;
  return {{"--datasets", fmt::format("{}", fmt::join(plan.datasets, ","))},
          {"--networks", fmt::format("{}", fmt::join(plan.networks, ","))},
          {"--methods", fmt::format("{}", fmt::join(o.methods, ","))},
          {"--bits", fmt::format("{}", fmt::join(plan.bits, ","))},
          {"--seeds", std::to_string(plan.seeds)},
          {"--epochs", std::to_string(plan.epochs)},
          {"--qat-epochs", std::to_string(plan.qat_epochs)},
          {"--qat-lr", fmt::format("{}", plan.qat_learning_rate)},
          {"--qat-lr-few-bits", fmt::format("{}", plan.few_bits_learning_rate)},
          {"--qat-batch-size", std::to_string(plan.qat_batch_size)},
          {"--qat-freeze-batch-norm", plan.freeze_batch_norm ? fmt::format("{}", *plan.freeze_batch_norm) : ""},
          {"--qat-weight-decay", plan.qat_weight_decay ? fmt::format("{}", *plan.qat_weight_decay) : ""},
          {"--augment", o.augment},
          {"--qat-augment", o.qat_augment},
          {"--teacher", fmt::format("{}", fmt::join(o.teachers, ","))},
          {"--teacher-weight", fmt::format("{}", plan.teacher_weight)},
          {"--temperature", fmt::format("{}", plan.temperature)},
          {"--ptq-bias-correction", o.ptq_bias_correction},
          {"--train-samples", std::to_string(plan.train_samples)},
          {"--calibration-samples", std::to_string(plan.calibration_samples)},
          {"--threads", std::to_string(plan.threads)},
          {"--data-dir", o.data_dir.string()},
          {"--studies", fmt::format("{}", fmt::join(plan.studies, ","))}};
}

void declare_teacher(CLI::App& app, ExperimentOptions& o) {
  CLI::Option* teacher =
      app.add_option("--teacher", o.teachers,
                     "QAT and fine-tuning learn from the outputs of a trained network too: float, the one that they "
                     "start from; DATASET=FILE.keras, or a folder written by 'nibble train', for one data set")
          ->delimiter(',')
          ->type_name("NETWORK");
  add_teaching_options(app, teacher, o.plan.teacher_weight, o.plan.temperature);
}

std::string quoted(const std::string& word) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./,=-+:@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == word.npos) return word;
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

}  // namespace

void declare_experiment_options(CLI::App& app, ExperimentOptions& o) {
  experiment::PtqQatOptions& plan = o.plan;
  app.add_option("EXPERIMENT", o.experiment, "ptq-qat: the table of Quantization-DNNs")->required();
  app.add_option("--out,-o", o.output, "Folder for cells, models, report.md and report.html; goes on where it was")
      ->required()
      ->type_name("DIR");
  app.add_option("--datasets", plan.datasets, "fashion_mnist, cifar10 (trained without batch 5, measured on it)")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--networks", plan.networks, "cnn, cnn_bn")->delimiter(',')->capture_default_str();
  app.add_option("--methods", o.methods, "Beside float: fine-tuned, ptq, qat, lsq")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--bits", plan.bits, "Widths, 2 to 16")->delimiter(',')->capture_default_str();
  app.add_option("--studies", plan.studies,
                 fmt::format("Also vary one thing: {}; or all, which takes several times as long as the table",
                             fmt::join(experiment::study_names(), ", ")))
      ->delimiter(',');
  app.add_option("--seeds", plan.seeds, "So many, from 1")->check(between(1, 1000))->capture_default_str();
  app.add_option("--epochs", plan.epochs, "Of float training")->check(between(1, 10000))->capture_default_str();
  app.add_option("--qat-epochs", plan.qat_epochs, "Of QAT and fine-tuning after it")
      ->check(between(1, 10000))
      ->capture_default_str();
  app.add_option("--qat-lr", plan.qat_learning_rate, "Of SGD, falling to 0")->check(positive())->capture_default_str();
  app.add_option("--qat-lr-few-bits", plan.few_bits_learning_rate, "The same of QAT with less than 6 bits")
      ->check(positive())
      ->capture_default_str();
  app.add_option("--qat-batch-size", plan.qat_batch_size, "Of QAT and fine-tuning; float training has 64")
      ->check(between<int64_t>(1, 65536))
      ->capture_default_str();
  app.add_option(
         "--qat-freeze-batch-norm", plan.freeze_batch_norm,
         "Batch-norm statistics of QAT stay from then on. Default: half of --qat-epochs below 6 bits, else never, "
         "which is as many as those")
      ->check(between(0.0, 10000.0))
      ->type_name("EPOCHS");
  app.add_option("--qat-weight-decay", plan.qat_weight_decay,
                 "Of QAT and fine-tuning: so much of a kernel's weights is added to their gradient. Default: 0.001 for "
                 "networks with batch norms, else 0")
      ->check(between(0.0, 1.0));
  add_augment_option(app, o.augment, "--augment", "Of float training");
  add_augment_option(app, o.qat_augment, "--qat-augment",
                     "Of QAT and fine-tuning; usual is flip,shift=2 for cifar10, none for fashion_mnist");
  declare_teacher(app, o);
  app.add_option("--ptq-bias-correction", o.ptq_bias_correction,
                 "Of post-training quantization: empirical, the mean of each output is the float network's on the "
                 "calibration samples; or none. Two variants of the study 'weights' have it, other studies have none")
      ->type_name("RULE")
      ->capture_default_str();
  app.add_option("--train-samples", plan.train_samples, "Only the first so many; 0: all")
      ->check(between<int64_t>(0, 1 << 30))
      ->capture_default_str();
  app.add_option("--calibration-samples", plan.calibration_samples)
      ->check(between<int64_t>(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--threads", plan.threads, "Of each worker")->check(between(1, 1024))->capture_default_str();
  app.add_option("--workers", o.workers, "Processes that compute cells at once; one a core is best")
      ->check(between(1, 1024))
      ->capture_default_str();
  app.add_option("--data-dir", o.data_dir, "Look for the data in this folder only")->type_name("DIR");
  app.add_flag("--offline", o.offline, "Never download");
  app.add_flag("--json", o.json, "Print all finished cells as JSON");
}

std::vector<std::string> experiment_arguments(const ExperimentOptions& o) {
  std::vector<std::string> words = {"experiment", o.experiment, "--out", o.output.string()};
  const std::vector<Argument> usual = arguments_of({}), given = arguments_of(o);
  for (size_t i = 0; i < given.size(); ++i) {
    if (given[i] == usual[i]) continue;
    words.push_back(given[i].name);
    words.push_back(given[i].value);
  }
  if (o.offline) words.push_back("--offline");
  return words;
}

std::string experiment_command(const ExperimentOptions& o) {
  std::string command = "nibble";
  for (const std::string& word : experiment_arguments(o)) command += " " + quoted(word);
  if (o.workers > 1) command += fmt::format(" --workers {}", o.workers);
  return command;
}

}  // namespace nibble::cli
