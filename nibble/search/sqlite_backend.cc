#include <soci/sqlite3/soci-sqlite3.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <thread>

#include "nibble/core/atomic_file.h"
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

// SQLITE_PROTOCOL: it lost the race for the journal's index against other processes many times in a row.
bool is_busy(int code) { return code == SQLITE_BUSY || code == SQLITE_LOCKED || code == SQLITE_PROTOCOL; }

// The directory, or the disk, lets nothing be made or changed.
bool is_of_place(const soci::soci_error& error) {
  const int code = primary_code(error);
  return code == SQLITE_CANTOPEN || code == SQLITE_READONLY || code == SQLITE_PERM;
}

// Gone with all that is in it at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (fs::temp_directory_path() / "nibble_study_XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) {
      throw IoError("[study] cannot make a directory '{}' for a copy of the study: {}.", name, std::strerror(errno));
    }
    path_ = name;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

// The database and its journal, of either kind; the index beside a journal is made anew.
constexpr std::array<const char*, 3> kParts = {"", "-wal", "-journal"};
using Parts = std::array<std::string, kParts.size()>;  // "" where there is no such file

Parts read_parts(const std::string& path) {
  Parts parts;
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string file = path + kParts[i];
    std::error_code ignored;
    try {
      if (fs::exists(file, ignored)) parts[i] = read_file(file);
    } catch (const IoError&) {
      if (fs::exists(file, ignored)) throw;  // else it went away meanwhile
    }
  }
  return parts;
}

// A search may go on there, and moves pages from the journal into the database, which no lock hinders where none can be
// taken. Two readings that are the same are of one moment.
Parts read_steady_parts(const std::string& path) {
  constexpr int kMostTries = 200;
  constexpr std::chrono::milliseconds kPause(10);
  for (int i = 0; i < kMostTries; ++i) {
    Parts parts = read_parts(path);
    if (read_parts(path) == parts) return parts;
    std::this_thread::sleep_for(kPause);
  }
  throw IoError(
      "[study] '{}' is in a place that cannot be written to, and a search changes it too fast for a copy. Try again, "
      "or "
      "make the directory writable.",
      path);
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
    try {
      open(sql, path_, make);
    } catch (const soci::soci_error& error) {
      if (make || !is_of_place(error)) throw;
      open_copy(sql);
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
    return is_busy(primary_code(error)) ? Trouble::kBusy : Trouble::kFatal;
  }

  void fail(const char* act, const soci::soci_error& error, int waited_s) const override {
    const std::string reason = error.get_error_message();
    switch (primary_code(error)) {
      case SQLITE_BUSY:
      case SQLITE_LOCKED:
      case SQLITE_PROTOCOL:
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
  void open(soci::session& sql, const std::string& path, bool make) const {
    sql.open(soci::sqlite3, fmt::format("db=\"{}\"", path));
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

  // SQLite keeps an index of the journal beside the file, and makes it even to read. Where nothing can be made (another
  // user's directory, a disk that is read-only) a copy is read: what the study was when it was opened.
  void open_copy(soci::session& sql) const {
    sql.close();
    const Parts parts = read_steady_parts(path_);
    copy_ = std::make_unique<TemporaryDirectory>();
    const std::string file = (copy_->path() / "study.db").string();
    for (size_t i = 0; i < parts.size(); ++i) {
      if (!parts[i].empty() || i == 0) write_file(file + kParts[i], parts[i]);
    }
    open(sql, file, false);
    sql << "PRAGMA query_only=1";  // what would be lost with the copy is refused
  }

  std::string path_;
  mutable std::unique_ptr<TemporaryDirectory> copy_;
};

}  // namespace

std::unique_ptr<DatabaseBackend> make_sqlite_backend(const std::string& url) {
  return std::make_unique<SqliteBackend>(url);
}

std::unique_ptr<DatabaseBackend> make_backend(const std::string& url) {
  return is_server_url(url) ? make_postgresql_backend(url) : make_sqlite_backend(url);
}

}  // namespace nibble::search
