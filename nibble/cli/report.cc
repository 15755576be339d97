// nibble report: the HTML page of a search, written anew, or of a training.
#include <CLI/CLI.hpp>

#include "nibble/cli/command.h"
#include "nibble/cli/search_report.h"
#include "nibble/cli/study_argument.h"
#include "nibble/cli/training_report.h"

namespace nibble::cli {
namespace {

namespace fs = std::filesystem;

struct ReportOptions {
  std::string source;
  fs::path output;
};

bool is_training(const fs::path& folder) {
  std::error_code ignored;
  return fs::is_directory(folder, ignored) && fs::exists(folder / "model.keras", ignored) &&
         !fs::exists(folder / "study.db", ignored);
}

int run(const ReportOptions& o, Streams& streams) {
  const bool training = is_training(o.source);
  const fs::path folder = training ? fs::path(o.source) : fs::path(study_url(o.source)).parent_path();
  const fs::path page = o.output.empty() ? folder / "report.html" : o.output;
  if (training) {
    write_training_report(folder, page);
  } else {
    write_search_report(study_url(o.source), page);
  }
  streams.out << page.string() << "\n";
  return kOk;
}

}  // namespace

Run declare_report(CLI::App& app) {
  auto o = std::make_shared<ReportOptions>();
  app.add_option("SOURCE", o->source, "Folder of 'nibble autoq' or 'nibble train', or a study.db")->required();
  app.add_option("--output,-o", o->output, "Default: report.html in that folder")->type_name("FILE.html");
  return [o](Streams& streams) { return run(*o, streams); };
}

}  // namespace nibble::cli
