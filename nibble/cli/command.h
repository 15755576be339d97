// nibble/cli/command.h
// What a subcommand is: a row of the table in command_table.cc and one file.
//
//   results go to stdout, talk goes to stderr
//   exit codes: 0 done, 1 failed (a sentence says why), 2 wrong usage, 130 stopped by Ctrl-C
#pragma once

#include <functional>
#include <ostream>
#include <span>
#include <string_view>

#include "nibble/core/error.h"

namespace CLI {
class App;
}

namespace nibble::cli {

inline constexpr int kOk = 0;
inline constexpr int kFailed = 1;
inline constexpr int kUsage = 2;
inline constexpr int kInterrupted = 130;  // 128 + SIGINT, as shells say it

// The command line names something that does not exist, or asks for what cannot go together.
class UsageError : public Error {
 public:
  template <class... Args>
  explicit UsageError(fmt::format_string<Args...> format, Args&&... args)
      : Error(fmt::format(format, std::forward<Args>(args)...)) {}
};

struct Streams {
  std::ostream& out;     // results
  std::ostream& err;     // talk
  bool err_is_terminal;  // a progress bar may be drawn
};

// Runs the parsed command and gives the exit code; errors are thrown.
using Run = std::function<int(Streams&)>;

struct Command {
  std::string_view name;
  std::string_view summary;   // one sentence
  std::string_view examples;  // lines shown at the end of --help
  Run (*declare)(CLI::App& app);
  bool computes = false;  // uses LibTorch: thread counts must be settled before it loads
  bool is_listed = true;
};

std::span<const Command> command_table();
const Command* find_command(std::string_view name);  // null if absent

// Parses and runs; never throws.
int run_command_line(int argc, const char* const* argv, Streams& streams);

// The page docs/cli.md: every command's help.
std::string help_as_markdown();

// ---- one per file ----
Run declare_train(CLI::App& app);
Run declare_evaluate(CLI::App& app);
Run declare_predict(CLI::App& app);
Run declare_energy(CLI::App& app);
Run declare_quantize(CLI::App& app);
Run declare_finalize(CLI::App& app);
Run declare_inspect(CLI::App& app);
Run declare_ptq(CLI::App& app);
Run declare_qat(CLI::App& app);
Run declare_qstats(CLI::App& app);
Run declare_debug(CLI::App& app);
Run declare_plot_quantizer(CLI::App& app);
Run declare_convert(CLI::App& app);
Run declare_bench(CLI::App& app);
Run declare_compile(CLI::App& app);
Run declare_run(CLI::App& app);
Run declare_verify(CLI::App& app);
Run declare_autoq(CLI::App& app);
Run declare_worker(CLI::App& app);
Run declare_study(CLI::App& app);
Run declare_experiment(CLI::App& app);
Run declare_dashboard(CLI::App& app);
Run declare_report(CLI::App& app);
Run declare_data(CLI::App& app);
Run declare_models(CLI::App& app);
Run declare_version(CLI::App& app);
Run declare_help(CLI::App& app);

}  // namespace nibble::cli
