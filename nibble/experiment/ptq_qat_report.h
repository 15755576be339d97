// nibble/experiment/ptq_qat_report.h
// The finished cells as a report: the table beside the published one, what it proves, the studies.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "nibble/experiment/cell.h"
#include "nibble/experiment/document.h"

namespace nibble::experiment {

struct FinishedCell {
  Cell cell;
  CellResult result;
};

// Median over seeds, and the ends.
struct Accuracy {
  double median = 0, lowest = 0, highest = 0;
  int seeds = 0;
};
// Of the cells that differ from `cell` in the seed only; nothing if none is finished.
std::optional<Accuracy> accuracy_of(std::span<const FinishedCell> finished, const Cell& cell);

// What a right implementation must reach (spec/ptq-qat-experiments.md, 3): each claim on each network and width.
struct Claim {
  std::string text;   // "4-bit PTQ within 3 points of float: fashion_mnist cnn"
  double margin = 0;  // by how much it holds; negative: by how much it fails
};
std::vector<Claim> claims_of(const PtqQatOptions& options, std::span<const FinishedCell> finished);

Document ptq_qat_document(const PtqQatOptions& options, std::span<const FinishedCell> finished);

}  // namespace nibble::experiment
