// nibble worker: runs trials of a study until it is over. 'nibble autoq' starts these itself.
#include <CLI/CLI.hpp>

#include "nibble/autoq/auto_qkeras.h"
#include "nibble/cli/command.h"
#include "nibble/cli/limits.h"
#include "nibble/cli/stop_signal.h"
#include "nibble/cli/study_argument.h"
#include "nibble/cli/wording.h"

namespace nibble::cli {

Run declare_worker(CLI::App& app) {
  struct WorkerOptions {
    std::string study;
    std::filesystem::path output;
    int64_t lease_s = 60;
    bool any_version = false;
  };
  auto o = std::make_shared<WorkerOptions>();
  app.add_option("--study", o->study, kStudyHelp)->required();
  app.add_option("--output,-o", o->output,
                 "Folder for the files of the trials, where STUDY is on a server; best one that all workers share")
      ->type_name("DIR");
  app.add_option("--lease", o->lease_s, "A trial whose worker is silent that long is taken over")
      ->check(between(1, 86400))
      ->type_name("SECONDS")
      ->capture_default_str();
  app.add_flag("--any-version", o->any_version, kAnyVersionHelp);
  return [o](Streams& streams) {
    listen_for_stop();
    const int finished = autoq::run_worker(study_url(o->study), {.lease_ms = 1000 * o->lease_s,
                                                                 .directory = o->output,
                                                                 .any_version = o->any_version,
                                                                 .stop = &stop_requested()});
    streams.err << counted(finished, "trial") << " finished here\n";
    return stop_requested() ? kInterrupted : kOk;
  };
}

}  // namespace nibble::cli
