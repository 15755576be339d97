#include <soci/postgresql/soci-postgresql.h>

#include <algorithm>
#include <span>

#include "nibble/core/error.h"
#include "nibble/search/database_backend.h"
#include "nibble/search/study_url.h"

namespace nibble::search {
namespace {

// Each study is a schema of this prefix and its name, so one database holds many and their tables are those of SQLite.
constexpr const char* kPrefix = "nibble_";

// Lock timeout, deadlock, what a stricter isolation may add, and two that make the same schema at once.
constexpr std::string_view kBusyStates[] = {"55P03", "40P01", "40001", "23505"};

// Five letters and digits, or blanks where the server could not say any.
std::string sqlstate_of(const soci::soci_error& error) {
  const auto* postgresql = dynamic_cast<const soci::postgresql_soci_error*>(&error);
  return postgresql == nullptr ? "" : postgresql->sqlstate();
}

bool is_one_of(const std::string& state, std::span<const std::string_view> states) {
  return std::find(states.begin(), states.end(), state) != states.end();
}

// The server's message in one line.
std::string reason_of(const soci::soci_error& error) {
  std::string text = error.get_error_message();
  text.resize(std::min(text.find("\n\t"), text.size()));  // libpq's guess what to do
  while (!text.empty() && (text.back() == '\n' || text.back() == '.' || text.back() == ' ')) text.pop_back();
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

class PostgresqlBackend final : public DatabaseBackend {
 public:
  explicit PostgresqlBackend(const std::string& url) : url_(parse_server_url(url)) {}

  const std::string& name() const override { return url_.display; }

  void connect(soci::session& sql, bool make) const override {
    open(sql);
    // A name that is not there yet is no error here.
    sql << fmt::format("SET search_path TO \"{}{}\"", kPrefix, url_.study);
    if (make || has_tables(sql)) return;
    throw IoError(
        "[study] there is no study at '{}'. 'nibble study list URL' shows those of the server; 'nibble autoq RUN.json "
        "--study URL' makes one.",
        url_.display);
  }

  void open(soci::session& sql) const {
    sql.open(soci::postgresql, url_.connection);
    for (const char* setting :
         {"SET client_min_messages TO warning", "SET client_encoding TO 'UTF8'",
          "SET default_transaction_isolation TO 'read committed'",
          // One wait is short: Database goes on trying.
          "SET lock_timeout TO '1s'",
          // A worker whose machine vanished in the middle of a transaction must not lock the others out.
          "SET idle_in_transaction_session_timeout TO '120s'"}) {
      sql << setting;
    }
  }

  void make_room(soci::session& sql) const override {
    sql << fmt::format("CREATE SCHEMA IF NOT EXISTS \"{}{}\"", kPrefix, url_.study);
  }

  bool has_tables(soci::session& sql) const override {
    const std::string schema = kPrefix + url_.study;
    int tables = 0;
    sql << "SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname = :s AND tablename = 'study'",
        soci::into(tables), soci::use(schema);
    return tables > 0;
  }

  void remove(soci::session& sql) const override {
    sql << fmt::format("DROP SCHEMA \"{}{}\" CASCADE", kPrefix, url_.study);
    sql.close();
  }

  Trouble trouble_of(soci::session& sql, const soci::soci_error& error) const override {
    const std::string state = sqlstate_of(error);
    if (is_one_of(state, kBusyStates)) return Trouble::kBusy;
    const bool is_lost = state.starts_with("08") || state.starts_with("57P") || state == "25P03";
    return is_lost || !sql.is_connected() ? Trouble::kLost : Trouble::kFatal;
  }

  void fail(const char* act, const soci::soci_error& error, int waited_s) const override {
    const std::string state = sqlstate_of(error), reason = reason_of(error);
    if (state.empty()) {
      throw IoError(
          "[study] could not {} at '{}': {}. See that the server runs, that host, port, database and user are right, "
          "and that the password is in PGPASSWORD or ~/.pgpass.",
          act, url_.display, reason);
    }
    if (is_one_of(state, kBusyStates)) {
      throw IoError("[study] could not {} in '{}': another process kept it locked for {} s.", act, url_.display,
                    waited_s);
    }
    if (state == "53100") {
      throw IoError("[study] could not {} in '{}': the server's disk is full. Free some space and go on with --resume.",
                    act, url_.display);
    }
    if (state == "42501") {
      throw IoError(
          "[study] could not {} in '{}': {}. The user must be allowed to create schemas in the database (GRANT CREATE "
          "ON DATABASE ...), or own the study.",
          act, url_.display, reason);
    }
    if (state.starts_with("42")) {  // a table or column is not what it should be
      throw CorruptFile("[study] could not {} in '{}': {}. What is there is no study of nibble, or it is damaged.", act,
                        url_.display, reason);
    }
    throw IoError("[study] could not {} in '{}' ({} s tried): {}.", act, url_.display, waited_s, reason);
  }

 private:
  ServerUrl url_;
};

}  // namespace

std::unique_ptr<DatabaseBackend> make_postgresql_backend(const std::string& url) {
  return std::make_unique<PostgresqlBackend>(url);
}

std::vector<std::string> studies_on_server(const std::string& url) {
  const PostgresqlBackend backend(url);
  std::vector<std::string> names;
  try {
    soci::session sql;
    backend.open(sql);
    std::string schema;
    soci::statement statement =
        (sql.prepare << "SELECT schemaname FROM pg_catalog.pg_tables WHERE tablename = 'study' AND "
                        "starts_with(schemaname::text, 'nibble_') ORDER BY schemaname",
         soci::into(schema));
    statement.execute();
    while (statement.fetch()) names.push_back(schema.substr(std::string_view(kPrefix).size()));
  } catch (const soci::soci_error& error) {
    backend.fail("list the studies", error, 0);
  }
  return names;
}

}  // namespace nibble::search
