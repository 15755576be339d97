// nibble/experiment/claims.h
// What a right implementation must reach (spec/ptq-qat-experiments.md, section 3), and by how much the finished cells
// do: on each network and at each width.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "nibble/experiment/cell.h"

namespace nibble::experiment {

struct FinishedCell {
  Cell cell;
  CellResult result;
};

// Of the cell with every seed, rising.
std::vector<double> values_of(std::span<const FinishedCell> finished, Cell cell, double CellResult::*field);

// Of rising values, at least one.
double median(std::span<const double> values);

// Median over seeds, and the ends.
struct Accuracy {
  double median = 0, lowest = 0, highest = 0;
  int seeds = 0;
};
// Of the cells that differ from `cell` in the seed only; nothing if none is finished.
std::optional<Accuracy> accuracy_of(std::span<const FinishedCell> finished, const Cell& cell);

// Over the seeds that have every cell the claim is about.
struct Claim {
  std::string line;    // what is claimed of several networks or widths: "4-bit PTQ within 3 points of float"
  std::string text;    // of which: "4-bit PTQ within 3 points of float: fashion_mnist cnn"
  double margin = 0;   // points by which the medians hold it; negative: by how much they fail
  bool holds = false;  // a margin of 0 does where nothing has to be above
  double lowest = 0, highest = 0;  // margins of single seeds
  int seeds = 0;
};

// Of what is finished; in the order of the options' networks and widths. A published figure is a whole percentage: that
// ours is above it, and that ours, rounded to whole percents too, is not below it, are claims of their own.
std::vector<Claim> claims_of(const PtqQatOptions& options, std::span<const FinishedCell> finished);

// The claims of one line together.
struct ClaimLine {
  std::string line;
  int holding = 0, claims = 0;
  Claim closest;  // with the smallest margin
};
// In the order in which lines first occur.
std::vector<ClaimLine> lines_of(std::span<const Claim> claims);

}  // namespace nibble::experiment
