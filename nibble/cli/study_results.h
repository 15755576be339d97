// nibble study pareto, export, delete: what is done with a study's results.
#pragma once

#include <string>

#include "nibble/cli/command.h"

namespace nibble::cli {

struct ParetoOptions {
  std::string study;
  std::vector<std::string> maximise, minimise;  // metrics; both empty: the study's own against cost
  std::vector<double> reference;                // of the hypervolume, in the order maximise, minimise; empty: see docs
  bool json = false;
};
int run_pareto(const ParetoOptions& o, Streams& streams);

struct ExportOptions {
  std::string study, output;  // output empty: the terminal
  std::string format = "csv";
};
int run_export(const ExportOptions& o, Streams& streams);

struct DeleteOptions {
  std::string study;
  bool yes = false;
  bool json = false;
};
int run_delete(const DeleteOptions& o, Streams& streams);

}  // namespace nibble::cli
