// AutoQKerasScheduler's plans, row by row, and what is refused.
#include "nibble/autoq/block_schedule.h"

#include <gtest/gtest.h>

#include "nibble/core/error.h"
#include "nibble/models/builtin.h"
#include "support/golden.h"

namespace nibble::autoq {
namespace {

const Json& rows() {
  static const Json loaded = [] {
    const std::string text = testing::golden_text("qtools/autoqkeras_scheduler");
    return text.empty() ? Json::array() : Json::parse(text);
  }();
  return loaded;
}

RunConfig config_of(const Json& row) {
  Json document = {{"compat", "qkeras"}, {"schedule_block", row.at("schedule")}};
  for (const char* key : {"blocks", "limit", "goal", "max_trials", "layer_indexes"}) document[key] = row.at(key);
  return parse_run_config(document.dump());
}

class AutoqkerasScheduler : public ::testing::TestWithParam<size_t> {};

TEST_P(AutoqkerasScheduler, OrderMembersCostsTrialsAndLimits) {
  const Json& row = rows()[GetParam()];
  const BlockSchedule schedule =
      schedule_blocks(models::make_builtin(row.at("model").get<std::string>()), config_of(row));
  EXPECT_EQ(schedule.reference, row.at("reference").get<double>());
  const Json& steps = row.at("steps");
  ASSERT_EQ(schedule.blocks.size(), steps.size());
  for (size_t i = 0; i < steps.size(); ++i) {
    const Block& block = schedule.blocks[i];
    SCOPED_TRACE(block.pattern);
    EXPECT_EQ(block.pattern, steps[i].at("pattern").get<std::string>());
    EXPECT_EQ(block.layers, steps[i].at("layers").get<std::vector<std::string>>());
    EXPECT_DOUBLE_EQ(block.cost, steps[i].at("cost").get<double>());
    EXPECT_EQ(block.trials, steps[i].at("trials").get<int>());
    EXPECT_EQ(block.limit, steps[i].at("limit"));  // the order of keys too: it decides
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, AutoqkerasScheduler, ::testing::Range<size_t>(0, rows().size()), [](const auto& info) {
  const Json& row = rows()[info.param];
  return fmt::format("{}_{}_{}", row.at("model").get<std::string>(), row.at("schedule").get<std::string>(), info.param);
});
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(AutoqkerasScheduler);

TEST(AutoqkerasSchedulerFile, RowsAreCovered) {
  size_t blocks = 0;
  for (const Json& row : rows()) blocks += row.at("steps").size();
  printf("autoqkeras_scheduler: %zu set-ups, %zu blocks\n", rows().size(), blocks);
}

RunConfig mnist_config(const std::string& blocks, const std::string& limit) {
  return parse_run_config(fmt::format(R"({{"blocks": {}, "limit": {}, "max_trials": 40}})", blocks, limit));
}

TEST(BlockSchedule, NamesAreAnchoredAndGroupsStayTogether) {
  const RunConfig config = mnist_config(R"(["^conv2d_[01]$", "^dense"])", R"({"^conv2d": [4, 8, 4], "Dense": [8]})");
  const BlockSchedule schedule = schedule_blocks(models::make_builtin("mnist"), config);
  ASSERT_EQ(schedule.blocks.size(), 2u);
  EXPECT_EQ(schedule.blocks[0].limit, Json::parse(R"({"^(conv2d_0|conv2d_1)$": [4, 8, 4]})"));
  EXPECT_EQ(schedule.blocks[1].limit, Json::parse(R"({"^dense$": [8, 8, 8]})"));
  EXPECT_NE(describe(schedule).find("block 0 '^conv2d_[01]$': cost"), std::string::npos);
}

// AutoQKerasScheduler hands the lists on as they were given; what completes them knows classes only.
TEST(BlockSchedule, WithCompatShortListsStayShort) {
  for (const auto& [compat, limit] :
       {std::pair{"none", R"({"^dense$": [8, 8, 8]})"}, {"qkeras", R"({"dense": [8]})"}}) {
    const RunConfig config =
        parse_run_config(fmt::format(R"({{"blocks": ["^dense"], "limit": {{"Dense": [8]}}, "compat": "{}"}})", compat));
    EXPECT_EQ(schedule_blocks(models::make_builtin("mnist"), config).blocks.at(0).limit, Json::parse(limit));
  }
}

// A block of hyperband without max_trials runs every round, whatever its share of the cost; with it, the share counts.
// A reference that stress makes tiny is no reason for more trials than max_trials may say.
TEST(BlockSchedule, TrialsAreThoseThatABlockRuns) {
  const std::pair<const char*, int> rows[] = {
      {R"("mode": "hyperband", "max_epochs": 9)", 23},
      {R"("mode": "hyperband", "max_epochs": 9, "hyperband_iterations": 2)", 46},
      {R"("mode": "hyperband", "max_epochs": 9, "max_trials": 10)", 10},
      {R"("max_trials": 10)", 10},
      {R"("max_trials": 1000000, "goal": {"type": "bits", "params": {"stress": 1e-6}})", 1'000'000}};
  for (const auto& [keys, trials] : rows) {
    const RunConfig config = parse_run_config(fmt::format(R"({{"blocks": ["^conv2d_0$", "^dense$"], {},
                                          "limit": {{"Conv2D": [4, 8, 4], "Dense": [8, 8, 4]}}}})",
                                                          keys));
    const BlockSchedule schedule = schedule_blocks(models::make_builtin("mnist"), config);
    for (const Block& block : schedule.blocks) EXPECT_EQ(block.trials, trials) << keys << " " << block.pattern;
    EXPECT_NE(describe(schedule).find(fmt::format(", {} trials\n", trials)), std::string::npos) << describe(schedule);
  }
}

// Or the key of the block would be refused where it is left with nothing else.
TEST(BlockSchedule, LayersThatASearchLeavesAsTheyAreStandInNoLimit) {
  const RunConfig config =
      mnist_config(R"j(["^conv", "^(flatten|dense)$"])j", R"j({"^(conv|flat)": [4, 8, 4], "Dense": [8]})j");
  const BlockSchedule schedule = schedule_blocks(models::make_builtin("mnist"), config);
  ASSERT_EQ(schedule.blocks.size(), 2u);
  EXPECT_EQ(schedule.blocks[1].layers, (std::vector<std::string>{"flatten", "dense"}));
  EXPECT_EQ(schedule.blocks[1].limit, Json::parse(R"({"^dense$": [8, 8, 8]})"));
}

struct BadBlocks {
  const char* name;
  const char* blocks;
  const char* limit;
  std::vector<const char*> words;
};

class RefusedBlocks : public ::testing::TestWithParam<BadBlocks> {};
TEST_P(RefusedBlocks, WithASentence) {
  const RunConfig config = mnist_config(GetParam().blocks, GetParam().limit);
  try {
    schedule_blocks(models::make_builtin("mnist"), config);
    ADD_FAILURE() << "no error";
  } catch (const InvalidArgument& error) {
    for (const char* word : GetParam().words) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
  }
}
INSTANTIATE_TEST_SUITE_P(
    Cases, RefusedBlocks,
    ::testing::Values(
        BadBlocks{"MatchesNothing", R"(["^conv2d_0$", "^dens3$"])", R"({"Conv2D": [4]})", {"^dens3$", "Near: 'dense'"}},
        BadBlocks{"TwoBlocks", R"(["^.*_0$", "^conv"])", R"({"Conv2D": [4]})", {"conv2d_0", "two blocks", "disjoint"}},
        BadBlocks{"NothingToQuantize", R"(["^dense"])", R"({"Conv2D": [4]})", {"^dense", "no key of limit"}},
        BadBlocks{"NoBlocks", "[]", "{}", {"blocks is missing"}}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace nibble::autoq
