// nibble version: what this program is made of.
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "nibble/cli/command.h"
#include "nibble/cli/table.h"
#include "nibble/search/code_version.h"

namespace nibble::cli {

Run declare_version(CLI::App& app) {
  auto json = std::make_shared<bool>(false);
  app.add_flag("--json", *json, "Print as JSON");
  return [json](Streams& streams) {
    if (*json) {
      const std::string commit = search::build_commit();
      print_json({{"version", NIBBLE_VERSION},
                  {"commit", commit.empty() ? nlohmann::json() : nlohmann::json(commit)},
                  {"build", NIBBLE_BUILD_TYPE},
                  {"compiler", NIBBLE_COMPILER}},
                 streams.out);
    } else {
      streams.out << search::code_version() << " (" << NIBBLE_BUILD_TYPE << ", " << NIBBLE_COMPILER << ")\n";
    }
    return kOk;
  };
}

}  // namespace nibble::cli
