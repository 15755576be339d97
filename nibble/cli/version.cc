// nibble version: what this program is made of.
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "nibble/cli/command.h"
#include "nibble/cli/table.h"

namespace nibble::cli {

Run declare_version(CLI::App& app) {
  auto json = std::make_shared<bool>(false);
  app.add_flag("--json", *json, "Print as JSON");
  return [json](Streams& streams) {
    if (*json) {
      print_json({{"version", NIBBLE_VERSION}, {"build", NIBBLE_BUILD_TYPE}, {"compiler", NIBBLE_COMPILER}},
                 streams.out);
    } else {
      streams.out << "nibble " << NIBBLE_VERSION << " (" << NIBBLE_BUILD_TYPE << ", " << NIBBLE_COMPILER << ")\n";
    }
    return kOk;
  };
}

}  // namespace nibble::cli
