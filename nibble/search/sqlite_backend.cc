#include <soci/sqlite3/soci-sqlite3.h>

#include <filesystem>

#include "nibble/core/error.h"
#include "nibble/search/database_backend.h"
#include "nibble/search/study_url.h"

namespace nibble::search {
namespace fs = std::filesystem;
namespace {

int primary_code(const soci::soci_error& error) {
  const auto* sqlite = dynamic_cast<const soci::sqlite3_soci_error*>(&error);
  return sqlite == nullptr ? -1 : sqlite->result() & 0xff;
}

class SqliteBackend final : public DatabaseBackend {
 public:
  explicit SqliteBackend(const std::string& url) : path_(sqlite_path(url)) {}

  const std::string& name() const override { return path_; }

  void connect(soci::session& sql, bool make) const override {
    std::error_code ignored;
    if (!make && !fs::exists(path_, ignored)) {
      throw IoError("[study] there is no study at '{}'. Give the study.db in the directory of a search.", path_);
    }
    if (fs::is_directory(path_, ignored)) {
      throw IoError("[study] '{}' is a directory; give the file study.db in it.", path_);
    }
    sql.open(soci::sqlite3, fmt::format("db=\"{}\"", path_));
    // One wait is short: Database goes on trying.
    sql << "PRAGMA busy_timeout=1000";
    // The mode stays with the file, so another program's file is left as it is.
    if (make && !has_tables(sql)) {
      std::string mode;
      sql << "PRAGMA journal_mode=WAL", soci::into(mode);
    }
    std::string verdict;
    sql << "PRAGMA quick_check(1)", soci::into(verdict);
    if (verdict != "ok") {
      throw CorruptFile(
          "[study] '{}' is damaged: {}. Restore a copy, or start a new search; finished trials' models are still in "
          "the directory 'trials' beside it.",
          path_, verdict);
    }
  }

  void make_room(soci::session&) const override {}

  bool has_tables(soci::session& sql) const override {
    int tables = 0;
    sql << "SELECT count(*) FROM sqlite_master", soci::into(tables);
    return tables > 0;
  }

  void remove(soci::session& sql) const override {
    sql.close();
    for (const char* suffix : {"", "-wal", "-shm"}) {
      std::error_code error;
      fs::remove(path_ + suffix, error);
      if (error) throw IoError("[study] cannot remove '{}{}': {}.", path_, suffix, error.message());
    }
  }

  Trouble trouble_of(soci::session&, const soci::soci_error& error) const override {
    const int code = primary_code(error);
    return code == SQLITE_BUSY || code == SQLITE_LOCKED ? Trouble::kBusy : Trouble::kFatal;
  }

  void fail(const char* act, const soci::soci_error& error, int waited_s) const override {
    const std::string reason = error.get_error_message();
    switch (primary_code(error)) {
      case SQLITE_BUSY:
      case SQLITE_LOCKED:
        throw IoError(
            "[study] could not {} in '{}': another process kept it locked for {} s. See which programs have it open; a "
            "network file system without locks does not work.",
            act, path_, waited_s);
      case SQLITE_FULL:
        throw IoError("[study] could not {} in '{}': the disk is full. Free some space and go on with --resume.", act,
                      path_);
      case SQLITE_PERM:
      case SQLITE_READONLY:
      case SQLITE_IOERR:
      case SQLITE_CANTOPEN:
      case SQLITE_AUTH:
        throw IoError(
            "[study] could not {} in '{}': {}. Both the file and its directory must exist and be readable and "
            "writable.",
            act, path_, reason);
      case SQLITE_NOMEM:
        throw IoError("[study] could not {} in '{}': out of memory.", act, path_);
      default:
        throw CorruptFile("[study] could not {} in '{}': {}. The file is no study of nibble, or it is damaged.", act,
                          path_, reason);
    }
  }

 private:
  std::string path_;
};

}  // namespace

std::unique_ptr<DatabaseBackend> make_sqlite_backend(const std::string& url) {
  return std::make_unique<SqliteBackend>(url);
}

std::unique_ptr<DatabaseBackend> make_backend(const std::string& url) {
  return is_server_url(url) ? make_postgresql_backend(url) : make_sqlite_backend(url);
}

}  // namespace nibble::search
