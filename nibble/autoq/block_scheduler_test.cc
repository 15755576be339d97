// A whole search by blocks with real worker processes and real training, on a small network and small data.
// The program is its own worker: `block_scheduler_test worker --study DIR/study.db`.
#include "nibble/autoq/block_scheduler.h"

#include <gtest/gtest.h>

#include "nibble/autoq/small_search.h"
#include "nibble/autoq/training_runner.h"
#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/model.h"
#include "nibble/search/storage.h"
#include "support/golden.h"

namespace nibble::autoq {
namespace {
namespace fs = std::filesystem;

class CountBlocks final : public BlockObserver {
 public:
  void on_block(int, int count, const Block& block) override {
    EXPECT_EQ(count, 2);
    patterns.push_back(block.pattern);
  }
  std::vector<std::string> patterns;
};

// The study of block 1 names a network that lay in the old place.
void expect_gone_on_with_after_a_move(const fs::path& directory, const fs::path& moved) {
  fs::rename(directory, moved);
  write_file(moved / "scheduler.json", "{\"next_block\": 1}\n");
  int trials = 0;
  {
    search::Storage study = search::Storage::open((moved / "1/study.db").string());
    trials = study.info().max_trials + 1;
    study.set_max_trials(trials);  // a worker is needed once more
  }
  const ScheduleResult result = run_schedule("", {.directory = moved, .resume = true, .workers = 1});
  EXPECT_TRUE(result.is_over);
  ASSERT_EQ(static_cast<int>(result.last.trials.size()), trials);
  EXPECT_EQ(result.last.trials.back().state, search::TrialState::kCompleted) << result.last.trials.back().reason;
  fs::rename(moved, directory);
}

// Ten small trials a block: the costliest block first, each on top of the one before; then the second one again, as
// after a program that ended between the two.
TEST(AutoQKerasScheduler, BlocksFollowOneAnotherAndAreGoneOnWith) {
  const std::string text =
      replaced(replaced(searched_config(R"(, "blocks": ["^dense$", "^(conv|bn|act)$"], "schedule_block": "cost")"),
                        "\"epochs\": 3", "\"epochs\": 1"),
               "\"tune_filters\": \"layer\"", "\"tune_filters\": \"none\"");
  const fs::path directory = testing::scratch_dir("autoq_blocks") / "out";
  CountBlocks seen;
  const ScheduleResult result = run_schedule(text, {.directory = directory, .workers = 2}, &seen);
  ASSERT_TRUE(result.is_over);
  ASSERT_EQ(seen.patterns.size(), 2u);
  EXPECT_GE(result.schedule.blocks[0].cost, result.schedule.blocks[1].cost);
  const graph::Model half = formats::keras::load_model(directory / "model_block_0.keras");
  const graph::Model whole = formats::keras::load_model(result.best_model);
  EXPECT_NE(half.layer("conv").class_name[0] == 'Q', half.layer("dense").class_name[0] == 'Q');
  EXPECT_EQ(whole.layer("conv").class_name, "QConv2D");
  EXPECT_EQ(whole.layer("dense").class_name, "QDense");

  const ScheduleResult finished = run_schedule("", {.directory = directory, .resume = true});
  EXPECT_EQ(finished.last.trials.size(), result.last.trials.size());
  ASSERT_TRUE(finished.last.best.has_value());
  EXPECT_EQ(finished.last.best->number, result.last.best->number);
  EXPECT_EQ(finished.last.best_model, result.last.best_model);

  const std::string best = read_file(result.best_model);
  write_file(directory / "scheduler.json", "{\"next_block\": 1}\n");
  fs::remove_all(directory / "1");
  CountBlocks again;
  const ScheduleResult resumed = run_schedule("", {.directory = directory, .resume = true, .workers = 1}, &again);
  EXPECT_TRUE(resumed.is_over);
  EXPECT_EQ(again.patterns, std::vector<std::string>{seen.patterns[1]});
  EXPECT_EQ(read_file(resumed.best_model), best);
  EXPECT_THROW(run_schedule(text, {.directory = directory}), InvalidArgument);
  try {
    run_schedule(replaced(text, small_model_file().string(), "other.keras"), {.directory = directory, .resume = true});
    ADD_FAILURE() << "no error";
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find("made with other files: RUN's model is '"), std::string::npos)
        << error.what();
  }
  expect_gone_on_with_after_a_move(directory, directory.parent_path() / "moved");
  write_file(directory / "scheduler.json", "{\"next_block\": 9}\n");
  EXPECT_THROW(run_schedule("", {.directory = directory, .resume = true}), CorruptFile);
}

struct BadBlocks {
  const char *name, *blocks, *limit, *more;
  std::vector<const char*> words;
};
void PrintTo(const BadBlocks& row, std::ostream* out) { *out << row.name; }

class BadLaterBlocks : public ::testing::TestWithParam<BadBlocks> {};
TEST_P(BadLaterBlocks, AreRefusedBeforeTheFirstIsSearched) {
  const auto& [name, blocks, limit, more, words] = GetParam();
  const std::string text = fmt::format(R"({{"model": "{}", "data": "mnist", "blocks": {}, "limit": {}{}}})",
                                       small_model_file().string(), blocks, limit, more);
  const fs::path directory = testing::scratch_dir("autoq_bad_blocks") / "out";
  try {
    run_schedule(text, {.directory = directory, .workers = 1});
    ADD_FAILURE() << "no error";
  } catch (const InvalidArgument& error) {
    for (const char* word : words) EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
  }
  EXPECT_FALSE(fs::exists(directory));
}
INSTANTIATE_TEST_SUITE_P(
    Rows, BadLaterBlocks,
    ::testing::Values(
        BadBlocks{"OnlyConverted",
                  R"(["^dense$", "^bn$", "^(conv|act)$"])",
                  R"({"Dense": [8, 8, 4], "Conv2D": [4, 8, 4], "Activation": [4], "BatchNormalization": []})",
                  "",
                  {"'^bn$' (bn) leaves nothing to choose", "'^dense$|^bn$'"}},
        BadBlocks{"HadByEarlierBlocks",
                  R"(["^(conv|dense)$", "^conv$"])",
                  R"({"Dense": [8, 8, 4], "Conv2D": [4, 8, 4]})",
                  R"(, "compat": "qkeras")",
                  {"'^conv$' (conv) leaves nothing to choose", "blocks before it have them"}},
        BadBlocks{"UnknownQuantizer",
                  R"(["^dense$", "^conv$"])",
                  R"({"Dense": [8, 8, 4], "Conv2D": [["foo"], 8, 4]})",
                  "",
                  {"limit['Conv2D']", "'foo' is not in the kernel table"}},
        BadBlocks{"UnknownQuantizerWithCompat",
                  R"(["^dense$", "^conv$"])",
                  R"({"Dense": [8, 8, 4], "Conv2D": [["foo"], 8, 4]})",
                  R"(, "compat": "qkeras")",
                  {"'foo' is not in the kernel table"}},
        BadBlocks{"TwoSourcesOfOneInput",
                  R"(["^dense$", "^conv$"])",
                  R"({"Dense": [8, 8, 4], "Conv2D": [4, 8, 4]})",
                  R"(, "goal": {"type": "energy", "params": {"source_quantizers": ["int8", "fp32"]}})",
                  {"source_quantizers has 2 elements"}},
        BadBlocks{"KeyOfNothing",
                  R"(["^dense$", "^conv$"])",
                  R"({"Dense": [8, 8, 4], "Conv2D": [4, 8, 4], "^convv": [4]})",
                  "",
                  {"limit: '^convv' is no layer class"}}),
    [](const auto& row) { return row.param.name; });

// What is quantized in the first of two blocks leaves the second its other layers.
TEST(CheckBlocks, WithCompatALayerMayBeInTwo) {
  const std::string text = fmt::format(
      R"({{"model": "{}", "blocks": ["^conv$", "^(conv|bn|dense)$"], "compat": "qkeras",
           "limit": {{"Dense": [8, 8, 4], "Conv2D": [4, 8, 4], "BatchNormalization": []}}}})",
      small_model_file().string());
  const RunConfig config = parse_run_config(text);
  const graph::Model model = load_search_model(config);
  EXPECT_NO_THROW(check_blocks(text, model, schedule_blocks(model, config)));
}

// What --debug prints is what a block's study is made with.
TEST(BlockConfig, HasTheTrialsOfTheSchedule) {
  for (const char* keys : {R"("mode": "hyperband", "max_epochs": 9)",
                           R"("mode": "hyperband", "max_epochs": 9, "max_trials": 40)", R"("max_trials": 40)"}) {
    const std::string text = fmt::format(R"({{"model": "{}", "blocks": ["^conv$", "^dense$"], {},
                                              "limit": {{"Dense": [8, 8, 4], "Conv2D": [4, 8, 4]}}}})",
                                         small_model_file().string(), keys);
    const RunConfig config = parse_run_config(text);
    const BlockSchedule schedule = schedule_blocks(load_search_model(config), config);
    for (int k = 0; k < 2; ++k) {
      const RunConfig of_block = parse_run_config(block_config(text, schedule, k, "start.keras"));
      EXPECT_EQ(of_block.max_trials, schedule.blocks[static_cast<size_t>(k)].trials) << keys;
    }
  }
}

TEST(BlocksOnAServer, EachIsAStudyAndADirectoryOfItsOwn) {
  const SearchOptions search = {
      .directory = "out", .study = "postgresql://ann@db.example/nets?study=mnist", .workers = 3};
  const SearchOptions block = options_of_block(search, 2);
  EXPECT_EQ(study_of(block), "postgresql://ann@db.example/nets?study=mnist-2");
  EXPECT_EQ(block.directory, "out/2");
  EXPECT_EQ(block.workers, 3);
  EXPECT_EQ(study_of(options_of_block({.directory = "out"}, 2)), "out/2/study.db");
}

}  // namespace
}  // namespace nibble::autoq

int main(int argc, char** argv) { return nibble::autoq::run_as_worker_or_tests(argc, argv); }
