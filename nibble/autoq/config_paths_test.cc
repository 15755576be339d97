#include "nibble/autoq/config_paths.h"

#include <gtest/gtest.h>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "support/golden.h"

namespace nibble::autoq {
namespace {
namespace fs = std::filesystem;

// A current directory with files "net" and "net.keras", and a link to deep/0 beside another deep/net.keras.
class ConfigPaths : public ::testing::Test {
 protected:
  void SetUp() override {
    make_directories(here_ / "deep" / "0");
    for (const char* name : {"net", "net.keras", "deep/net.keras"}) write_file(here_ / name, name);
    fs::create_directory_symlink(here_ / "deep" / "0", here_ / "link");
    fs::current_path(here_);
  }
  void TearDown() override { fs::current_path(before_); }

  const fs::path before_ = fs::current_path(), here_ = fs::canonical(testing::scratch_dir("config_paths"));
};

TEST_F(ConfigPaths, OfFilesBecomeAbsoluteAndNamesStay) {
  struct Row {
    std::string given, kept;
  };
  const std::string here = here_.string();
  for (const Row& row : {
           Row{"net.keras", here + "/net.keras"}, Row{"./net.keras", here + "/net.keras"},
           Row{"deep/../net.keras", here + "/net.keras"},
           Row{"link/../net.keras", here + "/link/../net.keras"},   // deep/net.keras
           Row{"net", here + "/net"},                               // a file without an ending
           Row{"absent.keras", here + "/absent.keras"},             // an error will name it
           Row{"/a/b.keras", "/a/b.keras"}, Row{"mnist", "mnist"},  // built in
           Row{"mnits", "mnits"},                                   // a slip of that
       }) {
    const Json given = {
        {"model", row.given}, {"reference_model", row.given}, {"max_trials", 3}, {"teacher", row.given}};
    const RunConfig config = parse_run_config(with_absolute_paths(given.dump()));
    EXPECT_EQ(config.model, row.kept) << row.given;
    EXPECT_EQ(config.reference_model, row.kept) << row.given;
    EXPECT_EQ(config.teacher, row.kept) << row.given;
    EXPECT_EQ(config.max_trials, 3);
  }
}

TEST_F(ConfigPaths, ADataSetMayBeAFolder) {
  fs::create_directory(here_ / "digits");
  const auto kept = [](const std::string& data) {
    return parse_run_config(with_absolute_paths(Json({{"data", data}}).dump())).data;
  };
  EXPECT_EQ(kept("deep"), (here_ / "deep").string());
  EXPECT_EQ(kept("./deep/0/"), (here_ / "deep/0/").string());
  EXPECT_EQ(kept("not/there"), (here_ / "not/there").string());
  EXPECT_EQ(kept("digits"), "digits") << "a known name is no folder's";
  EXPECT_EQ(kept("mnits"), "mnits") << "a slip of a name";
}

TEST_F(ConfigPaths, AProcessTableIsAFileToo) {
  const auto kept = [](const std::string& process) {
    const Json params = {{"process", process}};
    const Json config = {{"goal", {{"type", "energy"}, {"params", params}}}};
    return parse_run_config(with_absolute_paths(config.dump())).goal.energy.process;
  };
  EXPECT_EQ(kept("my.json"), (here_ / "my.json").string());
  EXPECT_EQ(kept("horowitz"), "horowitz");
}

TEST_F(ConfigPaths, WithoutOneTheTextStaysWithItsComments) {
  for (const char* text : {"{\n// a comment\n\"model\": \"mnist\"}", "{}", R"({"goal": {"type": "bits"}})"}) {
    EXPECT_EQ(with_absolute_paths(text), text);
  }
  // What writing it anew would hide is refused as ever.
  EXPECT_THROW(with_absolute_paths(R"({"model": "net", "model": "net.keras"})"), InvalidArgument);
}

struct PathCase {
  const char *name, *kept, *given;
  std::vector<const char*> words;  // none: they are one search, or differ in more than files
};
void PrintTo(const PathCase& row, std::ostream* out) { *out << row.name; }

class DifferingPath : public ::testing::TestWithParam<PathCase> {};
TEST_P(DifferingPath, IsNamedWithBothFiles) {
  const std::string sentence = differing_path(GetParam().kept, GetParam().given);
  EXPECT_EQ(sentence.empty(), GetParam().words.empty()) << sentence;
  for (const char* word : GetParam().words) EXPECT_NE(sentence.find(word), std::string::npos) << sentence;
}
INSTANTIATE_TEST_SUITE_P(
    Rows, DifferingPath,
    ::testing::Values(
        PathCase{"OfTheModel",
                 R"({"model": "/a/net.keras", "seed": 1})",
                 R"({"model": "/b/net.keras", "seed": 1, "max_trials": 9})",
                 {"RUN's model is '/b/net.keras' from here", "the study's is '/a/net.keras'", "leave RUN out"}},
        PathCase{"OfAWordThatIsNoFileHere",
                 R"({"model": "mnist", "teacher": "/a/taught"})",
                 R"({"model": "mnist", "teacher": "taught"})",
                 {"RUN's teacher is 'taught' from here", "'/a/taught'"}},
        PathCase{"OfTheFirstOfTwo",
                 "{\n// a comment\n\"model\": \"/a/net.keras\", \"data\": \"/a/digits\"}",
                 R"({"model": "/b/net.keras", "data": "/b/digits"})",
                 {"RUN's model is"}},
        PathCase{"OfTheProcess",
                 R"({"goal": {"type": "energy", "params": {"process": "/a/p.json"}}})",
                 R"({"goal": {"type": "energy", "params": {"process": "/b/p.json"}}})",
                 {"RUN's process is '/b/p.json'"}},
        PathCase{"NoneDiffers", R"({"model": "/a/net.keras"})", R"({"model": "/a/net.keras", "workers": 2})", {}},
        PathCase{
            "MoreDiffers", R"({"model": "/a/net.keras", "seed": 1})", R"({"model": "/b/net.keras", "seed": 2})", {}},
        PathCase{"ANameDiffers", R"({"model": "mnist"})", R"({"model": "cifar10"})", {}},
        PathCase{"OneHasNone", R"({"teacher": "/a/taught"})", R"({"seed": 0})", {}}),
    [](const auto& row) { return row.param.name; });

TEST_F(ConfigPaths, OfABlockAreFoundWhereItsSearchWasMovedTo) {
  write_file(model_of_block(here_ / "deep", 0), "a network");
  const auto model = [](const std::string& kept, const fs::path& directory) {
    return config_of_study(Json({{"model", kept}}).dump(), directory).model;
  };
  const std::string there = (here_ / "deep/model_block_0.keras").string();
  EXPECT_EQ(model("/moved/away/model_block_0.keras", here_ / "deep/0"), there);
  EXPECT_EQ(model("/moved/away/model_block_0.keras", "deep/0"), there);
  EXPECT_EQ(model("/moved/away/model_block_1.keras", "deep/0"), "/moved/away/model_block_1.keras") << "not there";
  EXPECT_EQ(model("/moved/away/net.keras", "deep/0"), "/moved/away/net.keras") << "a network of the user's";
  EXPECT_EQ(model(there, "elsewhere/0"), there) << "where it always was";
  fs::current_path("deep/0");
  EXPECT_EQ(model("/moved/away/model_block_0.keras", ""), there);
}

}  // namespace
}  // namespace nibble::autoq
