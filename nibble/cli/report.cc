// nibble report: the HTML page of a search, written anew.
#include <CLI/CLI.hpp>

#include "nibble/cli/command.h"
#include "nibble/cli/search_report.h"
#include "nibble/cli/study_argument.h"

namespace nibble::cli {
namespace {

struct ReportOptions {
  std::string study;
  std::filesystem::path output;
};

int run(const ReportOptions& o, Streams& streams) {
  const std::filesystem::path study = study_url(o.study);
  const auto page = o.output.empty() ? study.parent_path() / "report.html" : o.output;
  write_search_report(study, page);
  streams.out << page.string() << "\n";
  return kOk;
}

}  // namespace

Run declare_report(CLI::App& app) {
  auto o = std::make_shared<ReportOptions>();
  app.add_option("STUDY", o->study, "Folder of 'nibble autoq', or its study.db")->required();
  app.add_option("--output,-o", o->output, "Default: report.html beside the study")->type_name("FILE.html");
  return [o](Streams& streams) { return run(*o, streams); };
}

}  // namespace nibble::cli
