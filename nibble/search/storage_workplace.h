// nibble/search/storage_workplace.h
// What tests of studies share: where a study may be kept, a study whose clock stands, and errors that must say
// something.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "nibble/search/random_sampler.h"
#include "nibble/search/storage.h"

namespace nibble::search::testing {

// The kinds of database that every storage test runs on.
enum class Place { kSqlite, kPostgresql };
std::string place_name(const ::testing::TestParamInfo<Place>& info);

// The URL of a new place for a study.
//   name  unlike that of any other test of the program
std::string new_study_url(Place place, const std::string& name);

// False where PostgreSQL is asked for and not installed.
bool is_available(Place place);

// A suite that runs in every place and skips visibly where there is none.
class AtEveryPlace : public ::testing::TestWithParam<Place> {
 protected:
  void SetUp() override;
};

inline const SearchSpace kSpace = {{"kernel", {"binary", "ternary", "quantized_bits(4,0,1)"}},
                                   {"filters", {"0.5", "0.75", "1.0", "1.5", "2.0"}}};
inline const RandomSampler kSampler(42);
inline const StudyInfo kInfo = {.name = "mnist energy",
                                .code_version = "nibble 0.1.0",
                                .run_config = R"({"seed": 42, "text": "it's \"quoted\" : ü"})",
                                .space = to_json(kSpace),
                                .seed = 18446744073709551615u,
                                .max_trials = 4,
                                .inputs = R"({"model": "0123"})"};

// A study whose clock stands until the test moves it.
struct StudyAtRest {
  StudyAtRest(Place place, const std::string& name, StudyInfo info = kInfo);
  StorageOptions options();
  std::optional<Storage::Claim> claim(const std::string& worker = "w");

  std::string url;
  int64_t now = 1'000'000;
  std::optional<Storage> storage;
};

// The act must throw this kind of error, whose sentence holds all these words.
template <class Kind, class Act>
std::string expect_error(Act&& act, const std::vector<std::string>& words) {
  try {
    act();
    ADD_FAILURE() << "no error";
  } catch (const Kind& error) {
    for (const std::string& word : words) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what() << " lacks " << word;
    }
    return error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "another kind of error: " << error.what();
  }
  return "";
}

}  // namespace nibble::search::testing
