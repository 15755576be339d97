#include "nibble/search/code_version.h"

#include "nibble/search/build_commit.h"

namespace nibble::search {

std::string build_commit() { return kBuildCommit; }

std::string code_version() {
  const std::string version = "nibble " NIBBLE_VERSION, commit = build_commit();
  return commit.empty() ? version : version + ", commit " + commit;
}

}  // namespace nibble::search
