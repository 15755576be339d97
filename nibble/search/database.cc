#include "nibble/search/database.h"

#include <soci/sqlite3/soci-sqlite3.h>

#include <filesystem>

#include "nibble/core/error.h"

namespace nibble::search {
namespace fs = std::filesystem;
namespace {

int primary_code(const soci::soci_error& error) {
  const auto* sqlite = dynamic_cast<const soci::sqlite3_soci_error*>(&error);
  return sqlite == nullptr ? -1 : sqlite->result() & 0xff;
}

std::string path_of(const std::string& url) {
  if (url.rfind("postgresql:", 0) == 0 || url.rfind("postgres:", 0) == 0) {
    throw Unsupported(
        "[study] '{}': PostgreSQL studies are not available yet. Give the path of a SQLite file, such as DIR/study.db.",
        url);
  }
  std::string path = url.rfind("sqlite:", 0) == 0 ? url.substr(7) : url;
  if (path.empty() || path.find('"') != std::string::npos) {
    throw InvalidArgument("[study] '{}' is no path of a database; it must not be empty or hold a quotation mark.", url);
  }
  return path;
}

}  // namespace

Database::Database(const std::string& url, bool make, int busy_timeout_s)
    : path_(path_of(url)), busy_timeout_s_(busy_timeout_s) {
  if (!make && !exists(url)) {
    throw IoError("[study] there is no study at '{}'. Give the study.db in the directory of a search.", path_);
  }
  if (std::error_code ignored; fs::is_directory(path_, ignored)) {
    throw IoError("[study] '{}' is a directory; give the file study.db in it.", path_);
  }
  attempt("open", [&] { connect(); });
}

bool Database::exists(const std::string& url) {
  std::error_code ignored;
  return fs::exists(path_of(url), ignored);
}

bool Database::is_empty() {
  return read("look for tables", [](soci::session& sql) {
    int tables = 0;
    sql << "SELECT count(*) FROM sqlite_master", soci::into(tables);
    return tables == 0;
  });
}

void Database::connect() {
  if (session_.is_connected()) session_.close();
  session_.open(soci::sqlite3, fmt::format("db=\"{}\"", path_));
  // One wait is short: attempt() goes on trying until busy_timeout_s is over.
  session_ << "PRAGMA busy_timeout=1000";
  std::string mode;
  session_ << "PRAGMA journal_mode=WAL", soci::into(mode);
  std::string verdict;
  session_ << "PRAGMA quick_check(1)", soci::into(verdict);
  if (verdict != "ok") {
    throw CorruptFile(
        "[study] '{}' is damaged: {}. Restore a copy, or start a new search; finished trials' models are still in "
        "the directory 'trials' beside it.",
        path_, verdict);
  }
}

bool Database::is_busy(const soci::soci_error& error) {
  const int code = primary_code(error);
  return code == SQLITE_BUSY || code == SQLITE_LOCKED;
}

void Database::fail(const char* act, const soci::soci_error& error) const {
  const std::string reason = error.get_error_message();
  switch (primary_code(error)) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      throw IoError(
          "[study] could not {} in '{}': another process kept it locked for {} s. See which programs have it open; a "
          "network file system without locks does not work.",
          act, path_, busy_timeout_s_);
    case SQLITE_FULL:
      throw IoError("[study] could not {} in '{}': the disk is full. Free some space and go on with --resume.", act,
                    path_);
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_AUTH:
      throw IoError(
          "[study] could not {} in '{}': {}. Both the file and its directory must exist and be readable and writable.",
          act, path_, reason);
    case SQLITE_NOMEM:
      throw IoError("[study] could not {} in '{}': out of memory.", act, path_);
    default:
      throw CorruptFile("[study] could not {} in '{}': {}. The file is no study of nibble, or it is damaged.", act,
                        path_, reason);
  }
}

}  // namespace nibble::search
