// nibble/cli/qnoise_options.h
// The options of quantization that comes in gradually, for commands that train.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>

#include "nibble/train/qnoise_scheduler.h"

namespace nibble::cli {

struct QNoiseOptions {
  int64_t start = -1, finish = -1;  // -1: not given
  std::string freq_type = "epoch";
  int64_t update_freq = 1, initial = 0;
  double exponent = 3.0;
  bool without_ste = false;
};

void add_qnoise_options(CLI::App& app, QNoiseOptions& options);

// The callback they ask for; null where there is no ramp.
std::unique_ptr<train::Callback> qnoise_callback(const QNoiseOptions& options);

}  // namespace nibble::cli
