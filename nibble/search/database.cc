#include "nibble/search/database.h"

namespace nibble::search {

Database::Database(const std::string& url, bool make, int busy_timeout_s)
    : backend_(make_backend(url)), make_(make), busy_timeout_s_(busy_timeout_s) {
  attempt("open", [] { return 0; });
}

bool Database::has_tables() {
  return read("look for tables", [&](soci::session& sql) { return backend_->has_tables(sql); });
}

void Database::remove() {
  read("remove the study", [&](soci::session& sql) {
    backend_->remove(sql);
    return 0;
  });
}

void Database::connect() {
  session_.close();
  backend_->connect(session_, make_);
  was_connected_ = true;
  is_lost_ = false;
}

void Database::wait_or_fail(const char* act, const soci::soci_error& error, bool is_late) {
  Trouble trouble = backend_->trouble_of(session_, error);
  // A server that was never reached is a mistake in the URL, most often; one that went away comes back.
  if (trouble != Trouble::kBusy && (is_lost_ || trouble == Trouble::kLost)) {
    trouble = was_connected_ ? Trouble::kLost : Trouble::kFatal;
  }
  if (trouble == Trouble::kFatal || is_late) backend_->fail(act, error, busy_timeout_s_);
  if (trouble == Trouble::kLost) is_lost_ = true;
  std::this_thread::sleep_for(std::chrono::milliseconds(trouble == Trouble::kLost ? 200 : 20));
}

}  // namespace nibble::search
