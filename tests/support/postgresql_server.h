// tests/support/postgresql_server.h
// A real PostgreSQL server for tests, in a temporary folder, gone at the end of the process.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>

#include "support/reserved_port.h"

namespace nibble::testing {

// Listens on a Unix socket, where everybody is trusted, and on loopback, where the user "nibble" has a password.
// Programs are looked for in $NIBBLE_POSTGRESQL_BIN, then where Debian puts them. PostgreSQL refuses to be run by root:
// started by root, it runs as the user postgres.
class PostgresqlServer {
 public:
  // The one of this process, started when first asked for; null where PostgreSQL is not installed.
  //   throws  std::runtime_error if it does not start
  static PostgresqlServer* get();
  static constexpr const char* kAbsent =
      "PostgreSQL's server was not found; install it (Debian: apt-get install postgresql) or name the folder of initdb "
      "and postgres in NIBBLE_POSTGRESQL_BIN.";

  std::string url(const std::string& study) const;
  std::string loopback_url(const std::string& password, const std::string& study) const;
  static const char* password() { return "a secret of tests"; }
  int port() const { return port_.number(); }

  // As if its machine was switched off and on again.
  void stop();
  void start();

  ~PostgresqlServer();
  PostgresqlServer(const PostgresqlServer&) = delete;
  PostgresqlServer& operator=(const PostgresqlServer&) = delete;

 private:
  explicit PostgresqlServer(std::filesystem::path programs);

  std::filesystem::path programs_, folder_;
  ReservedPort port_;  // the server's while it is stopped, too
  pid_t pid_ = -1;
  pid_t owner_ = -1;
};

}  // namespace nibble::testing
