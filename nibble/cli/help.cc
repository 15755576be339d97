// nibble help: the same as --help.
#include <CLI/CLI.hpp>
#include <array>

#include "nibble/cli/command.h"
#include "nibble/core/nearest_name.h"

namespace nibble::cli {
namespace {

struct HelpOptions {
  std::string command;
  bool markdown = false;
};

int run(const HelpOptions& o, Streams& streams) {
  if (o.markdown) {
    streams.out << help_as_markdown();
    return kOk;
  }
  if (o.command.empty()) {
    constexpr std::array arguments = {"nibble", "--help"};
    return run_command_line(static_cast<int>(arguments.size()), arguments.data(), streams);
  }
  const Command* command = find_command(o.command);
  if (command == nullptr) {
    std::vector<std::string> names;
    for (const Command& row : command_table()) {
      if (row.is_listed) names.emplace_back(row.name);
    }
    throw UsageError("there is no command '{}'. {}", o.command, suggest(o.command, names));
  }
  const std::array arguments = {"nibble", o.command.c_str(), "--help"};
  return run_command_line(static_cast<int>(arguments.size()), arguments.data(), streams);
}

}  // namespace

Run declare_help(CLI::App& app) {
  auto o = std::make_shared<HelpOptions>();
  app.add_option("COMMAND", o->command, "A command");
  app.add_flag("--markdown", o->markdown, "All commands as the page docs/cli.md");
  return [o](Streams& streams) { return run(*o, streams); };
}

}  // namespace nibble::cli
