// nibble dashboard: a web page that shows a search while it runs.
#include "nibble/report/dashboard.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <memory>
#include <thread>

#include "nibble/autoq/config_paths.h"
#include "nibble/autoq/run_config.h"
#include "nibble/cli/command.h"
#include "nibble/cli/limits.h"
#include "nibble/cli/search_report.h"
#include "nibble/cli/stop_signal.h"
#include "nibble/cli/study_argument.h"
#include "nibble/cli/study_metric.h"
#include "nibble/cli/trial_energies.h"
#include "nibble/search/storage.h"
#include "nibble/search/study_url.h"

namespace nibble::cli {
namespace {

struct CommandOptions {
  std::string study;
  int port = 8420;
};

report::DashboardOptions options_of(const CommandOptions& o, Streams& streams) {
  report::DashboardOptions options{.study = study_url(o.study), .port = o.port};
  const search::StudyInfo info = search::Storage::open(options.study).info();
  const autoq::RunConfig config =
      search::is_server_url(options.study)
          ? autoq::parse_run_config(info.run_config)
          : autoq::config_of_study(info.run_config,
                                   std::filesystem::path(search::sqlite_path(options.study)).parent_path());
  const bool by_energy = config.goal.kind == autoq::GoalKind::kEnergy;
  options.cost = by_energy ? "energy_nj" : "bits";
  options.cost_name = by_energy ? "Energy (nJ)" : "Bits";
  options.facts.title = fmt::format("AutoQKeras search on {}", config.data.empty() ? config.model : config.data);
  options.facts.metric = metric_of(config);
  options.facts.goal = goal_sentence(config);
  try {
    options.facts.references = references_of(config);
    const auto energies = std::make_shared<TrialEnergies>(config);
    options.layers = [energies](const search::Trial& trial) { return energies->layers(trial); };
  } catch (const Error& error) {
    // The network lies on another machine, say. The trials are worth a page all the same.
    streams.err << "note: the layers of trials are not shown: " << error.what() << "\n";
  }
  return options;
}

int run(const CommandOptions& o, Streams& streams) {
  listen_for_stop(StopNotice::kNone);
  const report::Dashboard dashboard(options_of(o, streams));
  streams.out << dashboard.url() << std::endl;
  streams.err << "open it in a browser on this machine; Ctrl-C ends it, and nothing of the search\n";
  std::string said;
  while (!stop_requested()) {
    if (const std::string trouble = dashboard.trouble(); trouble != said) {
      streams.err << (trouble.empty() ? "the study is there again" : trouble) << std::endl;
      said = trouble;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return kOk;
}

}  // namespace

Run declare_dashboard(CLI::App& app) {
  auto o = std::make_shared<CommandOptions>();
  app.add_option("STUDY", o->study, kStudyHelp)->required();
  app.add_option("--port", o->port, "Of 127.0.0.1; 0: any that is free")
      ->check(between(0, 65535))
      ->capture_default_str();
  return [o](Streams& streams) { return run(*o, streams); };
}

}  // namespace nibble::cli
