// nibble/search/database.h
// A connection to a study's database, with errors and waiting taken care of. Private to
// search/: SOCI's headers go no further than the sources that include this one.
#pragma once

// Debian builds SOCI with optional Boost conversions, which only headers use; without this its
// headers would need all of Boost.
#include <soci/soci-config.h>
#undef SOCI_HAVE_BOOST
#include <soci/soci.h>

#include <chrono>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

namespace nibble::search {

class Database {
 public:
  //   url   see storage.h
  //   make  true: the file may be absent and is made then
  //   throws  IoError, CorruptFile, InvalidArgument (the URL), Unsupported (postgresql)
  Database(const std::string& url, bool make, int busy_timeout_s);

  // throws InvalidArgument (the URL), Unsupported (postgresql)
  static bool exists(const std::string& url);

  const std::string& name() const { return path_; }
  // True if there are no tables.
  bool is_empty();

  // Runs body(session) alone in this process. SOCI's errors come out as nibble's, saying the file and
  // the act ("read the trials"). While another process has the database, it is tried again.
  template <class Body>
  auto read(const char* act, Body&& body) {
    const std::lock_guard guard(mutex_);
    return attempt(act, [&] { return body(session_); });
  }

  // The same in one transaction, alone among all processes.
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
      body(session_);
      transaction.commit();
    });
  }

 private:
  template <class Body>
  auto attempt(const char* act, Body&& body) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(busy_timeout_s_);
    for (;;) {
      try {
        return body();
      } catch (const soci::soci_error& error) {
        if (!is_busy(error) || std::chrono::steady_clock::now() >= give_up) fail(act, error);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  static bool is_busy(const soci::soci_error& error);
  [[noreturn]] void fail(const char* act, const soci::soci_error& error) const;
  void connect();

  std::string path_;
  int busy_timeout_s_;
  std::mutex mutex_;
  soci::session session_;
};

}  // namespace nibble::search
