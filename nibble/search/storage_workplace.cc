#include "nibble/search/storage_workplace.h"

#include "support/golden.h"
#include "support/postgresql_server.h"

namespace nibble::search::testing {

std::string place_name(const ::testing::TestParamInfo<Place>& info) {
  return info.param == Place::kSqlite ? "Sqlite" : "Postgresql";
}

bool is_available(Place place) {
  return place == Place::kSqlite || nibble::testing::PostgresqlServer::get() != nullptr;
}

std::string new_study_url(Place place, const std::string& name) {
  if (place == Place::kPostgresql) return nibble::testing::PostgresqlServer::get()->url(name);
  return nibble::testing::scratch_dir(name) / "study.db";
}

void AtEveryPlace::SetUp() {
  if (!is_available(GetParam())) GTEST_SKIP() << nibble::testing::PostgresqlServer::kAbsent;
}

StudyAtRest::StudyAtRest(Place place, const std::string& name, StudyInfo info) : url(new_study_url(place, name)) {
  storage.emplace(Storage::create(url, info, options()));
}

StorageOptions StudyAtRest::options() {
  return {.busy_timeout_s = 5, .lease_ms = 1000, .clock = [this] { return now; }};
}

std::optional<Storage::Claim> StudyAtRest::claim(const std::string& worker) {
  return storage->claim(worker, kSpace, kSampler);
}

}  // namespace nibble::search::testing
