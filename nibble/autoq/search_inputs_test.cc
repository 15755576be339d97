// Searches whose files or data change between two runs. Nothing is trained: they are stopped at their start.
#include "nibble/autoq/search_inputs.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "nibble/autoq/auto_qkeras.h"
#include "nibble/autoq/block_scheduler.h"
#include "nibble/autoq/config_paths.h"
#include "nibble/autoq/small_search.h"
#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/cost/process_table.h"
#include "support/golden.h"

namespace nibble::autoq {
namespace {
namespace fs = std::filesystem;

const std::atomic<bool> kStop = true;

template <class Kind>
void expect_refused(const std::function<void()>& act, const std::vector<std::string>& words) {
  try {
    act();
    ADD_FAILURE() << "no error";
  } catch (const Kind& error) {
    for (const std::string& word : words) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what() << " lacks " << word;
    }
  }
}

// A search that reads files of its own, and a folder for its study.
class SearchInputs : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::copy_file(small_model_file(), root_ / "net.keras");
    make_directories(root_ / "teacher");
    fs::copy_file(small_model_file(), root_ / "teacher/model.keras");
    write_file(root_ / "process.json", std::string(cost::kHorowitz45nmJson));
  }

  std::string config(const std::string& more) const {
    Json config = Json::parse(small_config(more));
    config["model"] = (root_ / "net.keras").string();
    config["teacher"] = (root_ / "teacher").string();
    config["goal"]["params"]["process"] = (root_ / "process.json").string();
    return config.dump();
  }
  void start() const { run_search(config(R"("epochs": 1)"), {.directory = out_, .stop = &kStop}); }
  void resume() const { run_search("", {.directory = out_, .resume = true, .stop = &kStop}); }
  void work() const { run_worker(url(), {.stop = &kStop}); }
  std::string url() const { return (out_ / "study.db").string(); }

  const fs::path root_ = testing::scratch_dir("search_inputs"), out_ = root_ / "out";
};

TEST_F(SearchInputs, AFileThatChangedIsRefusedUntilItIsPutBack) {
  start();
  struct Row {
    const char *file, *key;
  };
  for (const Row& row :
       {Row{"net.keras", "model"}, Row{"teacher/model.keras", "teacher"}, Row{"process.json", "goal.params.process"}}) {
    const fs::path file = root_ / row.file;
    const std::string before = read_file(file);
    write_file(file, before + "\n");
    const std::string told = fmt::format("{} '{}' holds something else", row.key, file.string());
    expect_refused<InvalidArgument>([&] { resume(); }, {told, "in another directory"});
    expect_refused<InvalidArgument>([&] { work(); }, {told});
    write_file(file, before);
    EXPECT_NO_THROW(resume()) << row.key;
    EXPECT_NO_THROW(work()) << row.key;
  }
}

// One pixel of the copy of the data that $NIBBLE_DATA_DIR names now.
TEST_F(SearchInputs, DataThatChangedAreRefused) {
  start();
  const std::string before = std::getenv("NIBBLE_DATA_DIR");
  const fs::path images = root_ / "data/mnist/train-images-idx3-ubyte";
  fs::copy(before, root_ / "data", fs::copy_options::recursive);
  std::string bytes = read_file(images);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_file(images, bytes);
  setenv("NIBBLE_DATA_DIR", (root_ / "data").c_str(), 1);
  expect_refused<InvalidArgument>([&] { resume(); }, {"data 'mnist' (", "holds something else"});
  expect_refused<InvalidArgument>([&] { work(); }, {"data 'mnist' (", "holds something else"});
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_file(images, bytes);
  EXPECT_NO_THROW(resume()) << "the same samples from another folder";
  setenv("NIBBLE_DATA_DIR", before.c_str(), 1);
}

TEST_F(SearchInputs, AStudyWithoutDigestsIsGoneOnWith) {
  start();
  search::StudyInfo info = search::Storage::open(url()).info();
  const auto make_anew = [&](const std::string& inputs) {
    fs::remove(url());
    info.inputs = inputs;
    search::Storage::create(url(), info);
  };
  write_file(root_ / "process.json", read_file(root_ / "process.json") + "\n");
  for (const char* older : {"", "{}", R"({"model of another kind": "0123"})"}) {
    make_anew(older);
    EXPECT_NO_THROW(resume()) << older;
    EXPECT_NO_THROW(work()) << older;
  }
  for (const char* damaged : {"[", "[]", "7"}) {
    make_anew(damaged);
    expect_refused<CorruptFile>([&] { resume(); }, {"an object of SHA-256 sums"});
  }
}

// The second block has no study yet, and its digests would be those of the file as it is now.
TEST_F(SearchInputs, AFileThatChangedBetweenTwoBlocksIsRefused) {
  const std::string text = config(R"("epochs": 1, "blocks": ["^dense$", "^(conv|bn|act)$"])");
  run_schedule(text, {.directory = out_, .stop = &kStop});
  fs::copy_file(small_model_file(), model_of_block(out_, 0));
  write_file(out_ / "scheduler.json", "{\"next_block\": 1}\n");
  write_file(root_ / "process.json", read_file(root_ / "process.json") + "\n");
  const auto resume = [&] { run_schedule("", {.directory = out_, .resume = true, .stop = &kStop}); };
  expect_refused<InvalidArgument>(resume, {"goal.params.process", "holds something else"});
  write_file(root_ / "process.json", std::string(cost::kHorowitz45nmJson));
  EXPECT_NO_THROW(resume());
}

TEST_F(SearchInputs, AreTheFilesThatARunConfigNames) {
  EXPECT_TRUE(file_inputs(parse_run_config(R"({"model": "mnist", "reference_model": "mnist"})")).empty());
  EXPECT_TRUE(file_inputs(parse_run_config(R"({"model": "/not/there.keras"})")).empty());
  const auto digest = [&] {
    const Json config = {{"model", (root_ / "net.json").string()}};
    return file_inputs(parse_run_config(config.dump())).at(0).digest;
  };
  write_file(root_ / "net.json", "{}");
  const std::string alone = digest();
  write_file(root_ / "net_weights.h5", "weights");
  const std::string with_weights = digest();
  EXPECT_NE(with_weights, alone);
  write_file(root_ / "net_weights.h5", "others");
  EXPECT_NE(digest(), with_weights) << "the weights belong to the network";
}

}  // namespace
}  // namespace nibble::autoq

int main(int argc, char** argv) { return nibble::autoq::run_as_worker_or_tests(argc, argv); }
