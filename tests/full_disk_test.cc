// Places that cannot be written to: a sentence, exit code 1, nothing half-written. A full disk is a limit on the size
// of files: write() then fails in the middle of a file, as it does where no block is left.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "nibble/core/atomic_file.h"
#include "nibble/core/tensor.h"
#include "nibble/data/npy.h"
#include "search_workplace.h"

namespace nibble::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A trained model, its inputs, a finished study; made once.
class Site {
 public:
  static const Site& get() {
    static const Site site;
    return site;
  }
  fs::path dir() const { return SearchWorkplace::get().dir(); }
  std::string model() const { return (dir() / "trained/model.keras").string(); }
  std::string study() const { return (dir() / "study").string(); }
  std::string run_config() const { return run_config_; }

 private:
  Site() {
    run_config_ = SearchWorkplace::get().run_config({{"max_trials", 1}, {"epochs", 1}}).string();
    write_file(dir() / "quantizers.json",
               R"json({"QDense": {"kernel_quantizer": "ternary"}, "QConv2D": {"kernel_quantizer": "binary"}})json");
    write_file(dir() / "a_file", "in the way of a folder");
    data::write_npy(dir() / "x.npy", Tensor(Shape{400, 28, 28, 1}, 0.5f));
    run({"train", "mnist", "--data", "mnist", "--epochs", "1", "--quantize", (dir() / "quantizers.json").string(),
         "--output", (dir() / "trained").string()});
    run({"autoq", run_config_, "--output", study(), "--workers", "1"});
  }
  static void run(const std::vector<std::string>& arguments) {
    ChildProcess process = SearchWorkplace::get().start(arguments);
    EXPECT_EQ(process.wait(), 0) << process.err();
  }
  std::string run_config_;
};

// {MODEL}, {X}, {STUDY}, {RUN}, {QUANTIZERS} stand for the site's files; {OUT} for the place to write to, {SPARE} for
// another that can be written to.
struct Row {
  const char* name;
  const char* arguments;
  const char* output;     // a file's or a folder's name; the place for {OUT} ends in it
  uint64_t limit = 4096;  // bytes; what the program says must fit
};

std::vector<std::string> words_of(const Row& row, const fs::path& out) {
  const Site& site = Site::get();
  std::vector<std::string> words;
  std::istringstream text(row.arguments);
  for (std::string word; text >> word;) {
    words.push_back(fmt::format(fmt::runtime(word), fmt::arg("MODEL", site.model()), fmt::arg("STUDY", site.study()),
                                fmt::arg("RUN", site.run_config()), fmt::arg("OUT", out.string()),
                                fmt::arg("SPARE", (site.dir() / "spare.keras").string()),
                                fmt::arg("QUANTIZERS", (site.dir() / "quantizers.json").string()),
                                fmt::arg("X", (site.dir() / "x.npy").string())));
  }
  return words;
}

// Regular files below the folder, without logs.
std::vector<std::string> files_below(const fs::path& folder) {
  std::vector<std::string> files;
  if (!fs::exists(folder)) return files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files.push_back(entry.path().lexically_relative(folder).string());
  }
  return files;
}

class CannotWrite : public ::testing::TestWithParam<Row> {};

TEST_P(CannotWrite, BelowAFile) {
  const Row& row = GetParam();
  const fs::path out = Site::get().dir() / "a_file" / row.output;
  ChildProcess process = SearchWorkplace::get().start(words_of(row, out));
  EXPECT_EQ(process.wait(), 1) << process.err();
  EXPECT_THAT(process.err(), HasSubstr("a_file"));
  EXPECT_EQ(process.out(), "");
  EXPECT_EQ(read_file(Site::get().dir() / "a_file"), "in the way of a folder");
}

TEST_P(CannotWrite, OnAFullDisk) {
  const Row& row = GetParam();
  const fs::path folder = Site::get().dir() / (std::string("full_") + row.name);
  make_directories(folder);
  ChildProcess process =
      SearchWorkplace::get().start(words_of(row, folder / row.output), {.largest_file_bytes = row.limit});
  EXPECT_EQ(process.wait(), 1) << process.err();
  EXPECT_THAT(process.err(), AnyOf(HasSubstr("cannot"), HasSubstr("full"))) << "no sentence";
  EXPECT_EQ(process.out(), "");
  EXPECT_THAT(half_written(folder), IsEmpty());
  // Of files that are written piece by piece (a log, a study) what there was room for may stay.
  for (const std::string& file : files_below(folder)) {
    EXPECT_THAT(file, AnyOf(HasSubstr("history.csv"), HasSubstr("study."), HasSubstr("logs/")));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Outputs, CannotWrite,
    ::testing::Values(Row{"Train", "train mnist --data mnist --epochs 1 --output {OUT}", "folder"},
                      Row{"Quantize", "quantize {MODEL} {QUANTIZERS} --output {OUT}", "q.keras"},
                      Row{"Finalize", "finalize {MODEL} --output {OUT}", "final.keras"},
                      // Room for the model, none for the codes.
                      Row{"Codes", "finalize {MODEL} --output {SPARE} --codes {OUT}", "codes.json", 1000000},
                      Row{"Predict", "predict {MODEL} --input {X} --output {OUT}", "y.npy"},
                      Row{"Report", "report {STUDY} --output {OUT}", "page.html", 300000},
                      Row{"Autoq", "autoq {RUN} --output {OUT} --workers 1", "folder"},
                      // Room for the study, none for a model or the report.
                      Row{"AutoqModel", "autoq {RUN} --output {OUT} --workers 1", "folder", 300000}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(FullDisk, AnOldModelSurvivesTheTryToReplaceIt) {
  const fs::path old = Site::get().dir() / "old.keras";
  fs::copy_file(Site::get().model(), old);
  ChildProcess process = SearchWorkplace::get().start(
      {"quantize", Site::get().model(), (Site::get().dir() / "quantizers.json").string(), "--output", old.string()},
      {.largest_file_bytes = 2048});
  EXPECT_EQ(process.wait(), 1) << process.err();
  EXPECT_TRUE(read_file(old) == read_file(Site::get().model()));
}

}  // namespace
}  // namespace nibble::testing
