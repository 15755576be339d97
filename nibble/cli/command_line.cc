// Parsing, errors as sentences and exit codes; shared by every command.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>
#include <memory>
#include <new>

#include "nibble/cli/command.h"
#include "nibble/core/nearest_name.h"

namespace nibble::cli {
namespace {

constexpr std::string_view kDescription =
    "Trains, searches and ships deeply quantized neural networks.\n"
    "MODEL is a built-in name ('nibble models') or a .keras, .h5 or .json file.";

struct Declared {
  CLI::App* app;
  Run run;
};

std::unique_ptr<CLI::App> make_app(std::vector<Declared>& declared) {
  auto app = std::make_unique<CLI::App>(std::string(kDescription), "nibble");
  app->require_subcommand(1);
  app->set_version_flag("--version", std::string("nibble ") + NIBBLE_VERSION);
  app->get_formatter()->column_width(34);
  for (const Command& command : command_table()) {
    CLI::App* sub = app->add_subcommand(std::string(command.name), std::string(command.summary));
    if (!command.is_listed) sub->group("");
    if (!command.examples.empty()) sub->footer("Examples:\n" + std::string(command.examples));
    declared.push_back({sub, command.declare(*sub)});
  }
  app->footer("'nibble COMMAND --help' explains a command and shows examples.");
  return app;
}

std::vector<std::string> command_names() {
  std::vector<std::string> names;
  for (const Command& command : command_table()) {
    if (command.is_listed) names.emplace_back(command.name);
  }
  return names;
}

std::vector<std::string> subcommand_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (!sub->get_group().empty()) names.push_back(sub->get_name());
  }
  return names;
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

// The deepest subcommand that was given: errors are about its options.
const CLI::App& innermost(const CLI::App& app) {
  const auto subcommands = app.get_subcommands();
  return subcommands.empty() ? app : innermost(*subcommands.front());
}

std::string subcommand_path(const CLI::App& app) {
  return app.get_parent() == nullptr ? app.get_name() : subcommand_path(*app.get_parent()) + " " + app.get_name();
}

int report_usage(std::string_view message, const CLI::App& about, Streams& streams) {
  streams.err << "nibble: " << message << "\n'" << subcommand_path(about) << " --help' shows what is allowed.\n";
  return kUsage;
}

// CLI11 says "The following argument was not expected"; we add the nearest name.
int report_parse_error(const CLI::ParseError& error, const CLI::App& app, Streams& streams) {
  const CLI::App& about = innermost(app);
  for (const std::string& left : about.remaining()) {
    if (!left.starts_with("-")) continue;
    const std::string name = left.substr(0, left.find('='));
    return report_usage(fmt::format("unknown option {}. {}", name, suggest(name, option_names(about))), about, streams);
  }
  const auto left = about.remaining();
  const std::vector<std::string> subcommands = subcommand_names(about);
  if (!left.empty() && !subcommands.empty()) {
    return report_usage(
        fmt::format("{} cannot do '{}'. {}", subcommand_path(about), left.front(), suggest(left.front(), subcommands)),
        about, streams);
  }
  if (!left.empty()) {
    return report_usage(fmt::format("'{}' is one argument too many.", left.front()), about, streams);
  }
  return report_usage(error.what(), about, streams);
}

int run_guarded(const Run& run, const CLI::App& about, Streams& streams) {
  try {
    const int code = run(streams);
    streams.out.flush();
    if (!streams.out) throw IoError("the results could not be written to the standard output; is the disk full?");
    return code;
  } catch (const UsageError& error) {
    return report_usage(error.what(), about, streams);
  } catch (const std::bad_alloc&) {
    streams.err << "nibble: there is not enough memory for this; try a smaller batch size or model.\n";
  } catch (const std::exception& error) {
    streams.err << "nibble: " << error.what() << "\n";
  } catch (...) {
    streams.err << "nibble: an error of an unknown kind ended '" << subcommand_path(about) << "'.\n";
  }
  return kFailed;
}

int parse_and_run(int argc, const char* const* argv, Streams& streams) {
  std::vector<Declared> declared;
  const auto app = make_app(declared);
  if (argc > 1 && argv[1][0] != '-' && find_command(argv[1]) == nullptr) {
    return report_usage(fmt::format("unknown command '{}'. {}", argv[1], suggest(argv[1], command_names())), *app,
                        streams);
  }
  try {
    app->parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help, --version
    app->exit(success, streams.out, streams.err);
    return kOk;
  } catch (const CLI::ParseError& error) {
    return report_parse_error(error, *app, streams);
  }
  for (const Declared& command : declared) {
    if (command.app->parsed()) return run_guarded(command.run, innermost(*command.app), streams);
  }
  return kUsage;
}

}  // namespace

const Command* find_command(std::string_view name) {
  const auto table = command_table();
  const auto found = std::find_if(table.begin(), table.end(), [&](const Command& row) { return row.name == name; });
  return found == table.end() ? nullptr : &*found;
}

int run_command_line(int argc, const char* const* argv, Streams& streams) {
  try {
    return parse_and_run(argc, argv, streams);
  } catch (const std::exception& error) {
    streams.err << "nibble: " << error.what() << "\n";
  } catch (...) {
    streams.err << "nibble: an error of an unknown kind.\n";
  }
  return kFailed;
}

std::string help_as_markdown() {
  std::vector<Declared> declared;
  const auto app = make_app(declared);
  std::string page =
      "# The command line\n\nMade by `nibble help --markdown`; do not edit by hand.\n\n"
      "Results go to stdout, talk to stderr. Exit codes: 0 done, 1 failed (a sentence says why), 2 wrong usage,\n"
      "130 stopped by Ctrl-C. A name that is not known is answered with the nearest known ones.\n\n";
  const auto block = [](const std::string& text) {
    return "```\n" + text.substr(0, text.find_last_not_of('\n') + 1) + "\n```\n";
  };
  page += block(app->help());
  for (const Declared& command : declared) {
    const Command* row = find_command(command.app->get_name());
    if (row == nullptr || !row->is_listed) continue;
    page += fmt::format("\n## nibble {}\n\n{}", row->name, block(command.app->help("nibble")));
    for (const CLI::App* inner : command.app->get_subcommands([](const CLI::App*) { return true; })) {
      page += fmt::format("\n### nibble {} {}\n\n{}", row->name, inner->get_name(),
                          block(inner->help(fmt::format("nibble {}", row->name))));
    }
  }
  return page;
}

}  // namespace nibble::cli
