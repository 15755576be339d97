// nibble/cli/experiment_options.h
// The options of 'nibble experiment', and the command line that gives them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "nibble/experiment/cell.h"

namespace CLI {
class App;
}

namespace nibble::cli {

struct ExperimentOptions {
  std::string experiment;
  std::filesystem::path output, data_dir;
  experiment::PtqQatOptions plan;
  std::vector<std::string> methods = {"fine-tuned", "ptq", "qat", "lsq"};
  std::vector<std::string> teachers;                    // "float", or of one data set "DATASET=FILE"
  std::string augment = "none", qat_augment = "usual";  // of the plan's augmentations
  std::string ptq_bias_correction = "empirical";        // or "none"
  int workers = 1;
  bool offline = false, json = false;
};

void declare_experiment_options(CLI::App& app, ExperimentOptions& options);

// What follows the program's name to compute the same cells in one process; only what differs from the defaults.
std::vector<std::string> experiment_arguments(const ExperimentOptions& options);

// For a shell: "nibble experiment ptq-qat --out 'my table' --seeds 1".
std::string experiment_command(const ExperimentOptions& options);

}  // namespace nibble::cli
