// nibble/cli/distillation_options.h
// The options of a teacher, for commands that train.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "nibble/cli/command.h"
#include "nibble/train/distillation.h"

namespace nibble::cli {

struct DistillationOptions {
  std::string teacher;  // empty: none
  double weight = 0.9, temperature = 2.0;
};

// --teacher, --teacher-weight, --temperature
void add_distillation_options(CLI::App& app, DistillationOptions& options);

// --teacher-weight, --temperature, of a command with a --teacher of its own
void add_teaching_options(CLI::App& app, CLI::Option* teacher, double& weight, double& temperature);

// What the teacher gives for the training samples, which it sees as the student does; says on stderr how often it is
// right. Nothing where no teacher is given.
//   throws  UsageError, IoError as load_with_weights(); InvalidArgument as teacher_outputs()
std::optional<train::Distillation> learn_from_teacher(const DistillationOptions& options, const data::Dataset& dataset,
                                                      int threads, Streams& streams);

}  // namespace nibble::cli
