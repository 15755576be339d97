// nibble/cli/ptq_report.h
// What 'nibble ptq' tells about each layer.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <ostream>
#include <string>

#include "nibble/transform/ptq/post_training.h"

namespace nibble::cli {

struct PtqAccuracy {
  double real = 0, quantized = 0;
  int64_t samples = 0;  // 0: not measured
  std::string measure = "accuracy";
};

// A table in the model's order; the three layers that lose most are marked. Then what was folded and equalized, what
// to know, and the accuracies.
void print_ptq(const ptq::PostTrainingResult& result, const PtqAccuracy& accuracy, std::ostream& out);

nlohmann::json ptq_json(const ptq::PostTrainingResult& result, const PtqAccuracy& accuracy);

// Decibels that the layer itself loses: the lower of its weights' and its range's.
double own_sqnr_db(const ptq::QuantizedLayer& layer);

}  // namespace nibble::cli
