// nibble study pareto, export: what is done with a study's results.
#pragma once

#include <string>

#include "nibble/cli/command.h"
#include "nibble/search/storage.h"

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
  bool json = false;  // the same as the format "json"
};
int run_export(const ExportOptions& o, Streams& streams);

// Of a study without a completed trial: none yet, or none any more.
//   shown   its name, for people
//   throws  InvalidArgument, always
[[noreturn]] void refuse_without_completed(const search::Storage& storage, const std::string& shown);

}  // namespace nibble::cli
