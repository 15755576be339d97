// nibble/cli/model_report.h
// What a report says about one model: its layers, their energies, the codes of its weights.
#pragma once

#include "nibble/cost/energy.h"
#include "nibble/graph/model.h"
#include "nibble/report/report.h"

namespace nibble::cli {

constexpr double kPicoPerNano = 1000.0;

// Adds layers and histograms.
//   original   the network before quantization and filter tuning; may be the model itself
//   reference  its energies
//   own        the model's energies
void add_model(report::ReportData& data, const graph::Model& model, const graph::Model& original,
               const cost::EnergyEstimate& reference, const cost::EnergyEstimate& own);

// The rows of all layers but inputs.
std::vector<report::LayerRow> layer_rows(const graph::Model& model, const graph::Model& original,
                                         const cost::EnergyEstimate& reference, const cost::EnergyEstimate& own);

int64_t count_parameters(const graph::Model& model);

}  // namespace nibble::cli
