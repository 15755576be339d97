// nibble/search/database.h
// A connection to a study's database, with errors and waiting taken care of. Private to
// search/: SOCI's headers go no further than the sources that include this one.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "nibble/search/database_backend.h"

namespace nibble::search {

class Database {
 public:
  //   url   see study_url.h
  //   make  true: the study may be absent
  //   throws  IoError, CorruptFile, InvalidArgument (the URL)
  Database(const std::string& url, bool make, int busy_timeout_s);

  // For sentences: see DatabaseBackend.
  const std::string& name() const { return backend_->name(); }
  bool has_tables();
  // Removes the study; nothing else can be done with this object afterwards.
  void remove();

  // Runs body(session) alone in this process. SOCI's errors come out as nibble's, saying the study and
  // the act ("read the trials"). While another process has the database, or the server is away, it is tried again.
  template <class Body>
  auto read(const char* act, Body&& body) {
    const std::lock_guard guard(mutex_);
    return attempt(act, [&] { return body(session_); });
  }

  // The same in one transaction, alone among all processes. Where the connection is lost in the middle of the commit,
  // body may run twice: it must be such that this does no harm.
  template <class Body>
  auto write(const char* act, Body&& body) {
    const std::lock_guard guard(mutex_);
    return attempt(act, [&] {
      soci::transaction transaction(session_);
      // First of all a write, on the one row that every transaction writes: it takes the lock in
      // SQLite (a read that is turned into a write later could not wait) and in PostgreSQL.
      session_ << "UPDATE study SET revision = revision + 1 WHERE id = 1";
      auto result = body(session_);
      transaction.commit();
      return result;
    });
  }

  // One transaction that makes the tables; see write().
  template <class Body>
  void make(const char* act, Body&& body) {
    const std::lock_guard guard(mutex_);
    attempt(act, [&] {
      soci::transaction transaction(session_);
      backend_->make_room(session_);
      body(session_);
      transaction.commit();
    });
  }

 private:
  template <class Body>
  auto attempt(const char* act, Body&& body) {
    // Counted from the first trouble: that a try found out late (a server that vanished is waited for, a process gets
    // no time on a busy machine) is no reason not to try again.
    std::optional<std::chrono::steady_clock::time_point> give_up;
    for (;;) {
      try {
        if (is_lost_) connect();
        return body();
      } catch (const soci::soci_error& error) {
        const auto now = std::chrono::steady_clock::now();
        if (!give_up) give_up = now + std::chrono::seconds(busy_timeout_s_);
        wait_or_fail(act, error, now >= *give_up);
      }
    }
  }
  // Waits a little before the next try, or says why there is none.
  void wait_or_fail(const char* act, const soci::soci_error& error, bool is_late);
  void connect();

  std::unique_ptr<DatabaseBackend> backend_;
  bool make_;
  int busy_timeout_s_;
  bool was_connected_ = false;
  bool is_lost_ = true;  // to be connected (anew)
  std::mutex mutex_;
  soci::session session_;
};

}  // namespace nibble::search
