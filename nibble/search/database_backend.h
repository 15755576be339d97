// nibble/search/database_backend.h
// All that SQLite and PostgreSQL do differently. The rest of the SQL is one text for both. Private to search/.
#pragma once

// Debian builds SOCI with optional Boost conversions, which only headers use; without this its
// headers would need all of Boost.
#include <soci/soci-config.h>
#undef SOCI_HAVE_BOOST
#include <soci/soci.h>

#include <memory>
#include <string>
#include <vector>

namespace nibble::search {

// What an error of the database asks for.
enum class Trouble {
  kBusy,   // another process has the study: try again soon
  kLost,   // the connection is gone: connect anew
  kFatal,  // trying again is no use
};

class DatabaseBackend {
 public:
  virtual ~DatabaseBackend() = default;

  // For sentences: the path, or the URL without its password.
  virtual const std::string& name() const = 0;
  // Connects. The study need not be there if make is true.
  //   throws  IoError, CorruptFile, soci::soci_error
  virtual void connect(soci::session& sql, bool make) const = 0;
  // Within the transaction that makes the tables, before them.
  virtual void make_room(soci::session& sql) const = 0;
  virtual bool has_tables(soci::session& sql) const = 0;
  // Removes the study for good; the session is closed afterwards.
  virtual void remove(soci::session& sql) const = 0;

  virtual Trouble trouble_of(soci::session& sql, const soci::soci_error& error) const = 0;
  // Says what could not be done, where and why.
  [[noreturn]] virtual void fail(const char* act, const soci::soci_error& error, int waited_s) const = 0;
};

//   throws  InvalidArgument for a URL that is none
std::unique_ptr<DatabaseBackend> make_sqlite_backend(const std::string& url);
std::unique_ptr<DatabaseBackend> make_postgresql_backend(const std::string& url);
std::unique_ptr<DatabaseBackend> make_backend(const std::string& url);

// Names of the studies on a server, sorted.
//   throws  IoError, InvalidArgument
std::vector<std::string> studies_on_server(const std::string& url);

}  // namespace nibble::search
