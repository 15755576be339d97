#include "nibble/train/process_settings.h"

#include <gtest/gtest.h>

#include "nibble/train/joined_groups.h"

namespace nibble::train {
namespace {

struct Case {
  const char* name;
  std::vector<Settings> settings;
  const char* difference;
};

class Difference : public ::testing::TestWithParam<Case> {};

TEST_P(Difference, IsTold) { EXPECT_EQ(settings_difference(GetParam().settings), GetParam().difference); }

INSTANTIATE_TEST_SUITE_P(
    Settings, Difference,
    ::testing::Values(
        Case{"None", {{{"seed", "1"}}, {{"seed", "1"}}}, ""}, Case{"OneProcess", {{{"seed", "1"}}}, ""},
        Case{"OneValue",
             {{{"epochs", "2"}, {"seed", "1"}}, {{"epochs", "3"}, {"seed", "1"}}},
             "process 1 has epochs 3, where process 0 has epochs 2"},
        Case{"TwoValues",
             {{{"epochs", "2"}, {"seed", "1"}}, {{"epochs", "3"}, {"seed", "4"}}},
             "process 1 has epochs 3, seed 4, where process 0 has epochs 2, seed 1"},
        Case{"TwoProcesses",
             {{{"seed", "1"}}, {{"seed", "2"}}, {{"seed", "1"}}, {{"seed", "3"}}},
             "process 1 has seed 2, where process 0 has seed 1; process 3 has seed 3, where process 0 has seed 1"},
        Case{"AnotherVersion", {{{"seed", "1"}}, {}}, "process 1 has no seed, where process 0 has seed 1"},
        Case{"Many",
             {{{"a", "0"}}, {{"a", "1"}}, {{"a", "1"}}, {{"a", "1"}}, {{"a", "1"}}, {{"a", "1"}}, {{"a", "1"}}},
             "process 1 has a 1, where process 0 has a 0; process 2 has a 1, where process 0 has a 0; process 3 has a "
             "1, where process 0 has a 0; process 4 has a 1, where process 0 has a 0; so do 2 more"}),
    [](const auto& info) { return info.param.name; });

// Both end with the same sentence, or both go on.
TEST(EqualSettings, AreRequiredOfAllProcesses) {
  std::vector<std::future<void>> working;
  for (const auto& group : joined_groups(2)) {
    working.push_back(std::async(std::launch::async, [group] {
      EXPECT_NO_THROW(require_equal_settings(*group, {{"epochs", "2"}, {"data set", "\xff"}}));
      try {
        require_equal_settings(*group, {{"epochs", std::to_string(2 + group->rank())}});
        ADD_FAILURE() << "accepted";
      } catch (const InvalidArgument& refused) {
        EXPECT_NE(
            std::string(refused.what()).find("process 1 has epochs 3, where process 0 has epochs 2. Start all of them"),
            std::string::npos)
            << refused.what();
      }
      EXPECT_NO_THROW(require_equal_settings(*group, {})) << "the group is whole still";
    }));
  }
  for (auto& process : working) process.get();
}

}  // namespace
}  // namespace nibble::train
