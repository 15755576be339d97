#include "nibble/core/unique_keys.h"

#include <gtest/gtest.h>

namespace nibble {
namespace {

using nlohmann::json;

struct Case {
  const char* name;
  const char* text;
  const char* path;  // of the key that stands twice; empty: none
};

class UniqueKeys : public testing::TestWithParam<Case> {};

TEST_P(UniqueKeys, ASecondOneIsNamed) {
  const auto& [name, text, path] = GetParam();
  std::string message;
  try {
    EXPECT_EQ(json::parse(text, unique_keys<json>("x: "), true, true), json::parse(text, nullptr, true, true));
  } catch (const InvalidArgument& error) {
    message = error.what();
  }
  const std::string expected =
      *path == 0 ? ""
                 : fmt::format("x: the key '{}' stands twice, and only one of them would count. Remove one.", path);
  EXPECT_EQ(message, expected);
}

INSTANTIATE_TEST_SUITE_P(Cases, UniqueKeys,
                         testing::Values(Case{"None", R"({"a": 1, "b": {"a": 2}, "c": [{"a": 1}, {"a": 2}]})", ""},
                                         Case{"Scalar", "3", ""}, Case{"Outer", R"({"a": 1, "b": 2, "a": 1})", "a"},
                                         Case{"Inner", R"({"limit": {"Dense": [4], "Dense": [8]}})", "limit.Dense"},
                                         Case{"InAList", R"({"a": [{}, {"b": 1, "b": 2}]})", "a.b"},
                                         Case{"Comment", "{\"a\": 1, // \"a\"\n \"b\": 2}", ""},
                                         Case{"Escaped", "{\"a\": 1, \"\\u0061\": 2}", "a"}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace nibble
