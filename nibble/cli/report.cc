// nibble report: the HTML page of a search, written anew, or of a training.
#include <CLI/CLI.hpp>

#include "nibble/cli/command.h"
#include "nibble/cli/search_report.h"
#include "nibble/cli/study_argument.h"
#include "nibble/cli/training_report.h"
#include "nibble/search/study_url.h"

namespace nibble::cli {
namespace {

namespace fs = std::filesystem;

struct ReportOptions {
  std::string source;
  fs::path output, files;
};

bool is_training(const fs::path& folder) {
  std::error_code ignored;
  return fs::is_directory(folder, ignored) && fs::exists(folder / "model.keras", ignored) &&
         !fs::exists(folder / "study.db", ignored);
}

// Where the files of SOURCE lie.
fs::path folder_of(const ReportOptions& o) {
  if (!o.files.empty()) return o.files;
  if (is_training(o.source)) return o.source;
  const std::string url = study_url(o.source);
  if (!search::is_server_url(url)) return fs::path(search::sqlite_path(url)).parent_path();
  throw UsageError(
      "the study is on a server; say with --files DIR where 'nibble autoq' writes the files of its trials.");
}

int run(const ReportOptions& o, Streams& streams) {
  const fs::path folder = folder_of(o);
  const fs::path page = o.output.empty() ? folder / "report.html" : o.output;
  if (is_training(o.source)) {
    write_training_report(folder, page);
  } else {
    write_search_report(study_url(o.source), folder, page);
  }
  streams.out << page.string() << "\n";
  return kOk;
}

}  // namespace

Run declare_report(CLI::App& app) {
  auto o = std::make_shared<ReportOptions>();
  app.add_option("SOURCE", o->source, "Folder of 'nibble autoq' or 'nibble train', or a study.db, or a server's URL")
      ->required();
  app.add_option("--files", o->files, "Folder of the trials' files, where SOURCE is a URL")->type_name("DIR");
  app.add_option("--output,-o", o->output, "Default: report.html in that folder")->type_name("FILE.html");
  return [o](Streams& streams) { return run(*o, streams); };
}

}  // namespace nibble::cli
