#include "nibble/data/catalog.h"

#include <gtest/gtest.h>
#include <httplib.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <thread>

#include "nibble/core/error.h"
#include "nibble/data/sample_files.h"
#include "nibble/data/search_path.h"
#include "tests/support/golden.h"

namespace nibble::data {
namespace {
namespace fs = std::filesystem;

using Counts = std::vector<int>;

Counts count_classes(const Samples& samples, int num_classes) {
  Counts counts(static_cast<size_t>(num_classes));
  for (const int32_t label : samples.labels()) ++counts[static_cast<size_t>(label)];
  return counts;
}

// Counts per class, from the README beside each real data set.
struct RealCase {
  const char* test_name;
  const char* name;
  const char* folder;
  const char* holdout;
  Shape shape;
  Counts train, test;  // train empty: not stated in the README
};

class RealData : public ::testing::TestWithParam<RealCase> {};
TEST_P(RealData, HasThePublishedCountsPerClass) {
  const RealCase& c = GetParam();
  const fs::path root = testing::shared_dir() / "data";
  if (!fs::exists(root / c.folder)) GTEST_SKIP() << "no real " << c.name << " at hand";
  const Dataset dataset = load_dataset(c.name, {.holdout = c.holdout, .data_dir = root});
  EXPECT_EQ(dataset.name, c.name);
  EXPECT_EQ(dataset.source, (root / c.folder).string());
  EXPECT_EQ(dataset.train.shape(), c.shape);
  EXPECT_EQ(dataset.test.shape(), c.shape);
  if (!c.train.empty()) {
    EXPECT_EQ(count_classes(dataset.train, dataset.num_classes), c.train);
  }
  if (!c.test.empty()) {
    EXPECT_EQ(count_classes(dataset.test, dataset.num_classes), c.test);
  }
}
INSTANTIATE_TEST_SUITE_P(
    Readme, RealData,
    ::testing::Values(
        RealCase{"Mnist",
                 "mnist",
                 "mnist",
                 "",
                 {28, 28, 1},
                 {5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949},
                 {980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009}},
        RealCase{"FashionMnist", "fashion_mnist", "fashion-mnist", "", {28, 28, 1}, Counts(10, 6000), Counts(10, 1000)},
        RealCase{"Cifar10",
                 "cifar10",
                 "cifar-10",
                 "",
                 {32, 32, 3},
                 Counts(10, 5000),
                 {103, 89, 100, 103, 90, 86, 112, 102, 106, 109}},
        RealCase{"Cifar10HoldoutBatch5", "cifar10", "cifar-10", "batch5", {32, 32, 3}, {}, {}},
        RealCase{"Digits",
                 "digits",
                 "digits",
                 "",
                 {8, 8, 1},
                 {376, 389, 380, 389, 387, 376, 377, 387, 380, 382},
                 {178, 182, 177, 183, 181, 182, 181, 179, 174, 180}}),
    [](const auto& row) { return row.param.test_name; });

// An environment variable for the time of a test.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const std::string& value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    setenv(name, value.c_str(), 1);
  }
  ~ScopedVariable() { before_ ? setenv(name_, before_->c_str(), 1) : unsetenv(name_); }

 private:
  const char* name_;
  std::optional<std::string> before_;
};

std::string message_of(const std::string& name, const LoadOptions& options) {
  try {
    load_dataset(name, options);
  } catch (const Error& error) {
    return error.what();
  }
  return "loaded";
}

// Options under which only `folder` is searched, and nothing comes from the network.
LoadOptions only(const fs::path& folder) {
  return {.search_path = std::vector<fs::path>{folder}, .allow_download = false, .allow_synthetic = false};
}

TEST(LoadDataset, UnknownNamesAreAnsweredWithTheNearest) {
  const std::string message = message_of("fashion-mnist", {});
  EXPECT_NE(message.find("'fashion_mnist'"), std::string::npos) << message;
  EXPECT_NE(message_of("imagenet", {}).find("cifar100"), std::string::npos);
  EXPECT_THROW(load_dataset("imagenet"), InvalidArgument);
}

TEST(LoadDataset, HoldoutIsForCifar10) {
  EXPECT_THROW(load_dataset("mnist", {.holdout = "batch5"}), InvalidArgument);
  EXPECT_THROW(load_dataset("cifar10", {.holdout = "batch6"}), InvalidArgument);
  EXPECT_THROW(load_dataset("synthetic_digits", {.holdout = "batch5"}), InvalidArgument);
}

struct FolderCase {
  const char* test_name;
  const char* name;
  const char* folder;
  bool is_found;
};

// MNIST and Fashion-MNIST have the same file names; the folder says which one it is.
class IdxFolders : public ::testing::TestWithParam<FolderCase> {};
TEST_P(IdxFolders, AreKnownByTheirNames) {
  const fs::path root = testing::scratch_dir("catalog");
  samples::write_idx_folder(root / GetParam().folder, 20, 10);
  const std::string message = message_of(GetParam().name, only(root));
  EXPECT_EQ(message == "loaded", GetParam().is_found) << message;
  EXPECT_EQ(message_of(GetParam().name, {.data_dir = root}) == "loaded", GetParam().is_found);
}
INSTANTIATE_TEST_SUITE_P(Rows, IdxFolders,
                         ::testing::Values(FolderCase{"Mnist", "mnist", "mnist", true},
                                           FolderCase{"MnistTorchvision", "mnist", "MNIST/raw", true},
                                           FolderCase{"Fashion", "fashion_mnist", "fashion-mnist", true},
                                           FolderCase{"FashionUnderscore", "fashion_mnist", "fashion_mnist", true},
                                           FolderCase{"FashionIsNotMnist", "mnist", "fashion-mnist", false},
                                           FolderCase{"MnistIsNotFashion", "fashion_mnist", "mnist", false},
                                           FolderCase{"Elsewhere", "mnist", "some", false}),
                         [](const auto& row) { return row.param.test_name; });

TEST(LoadDataset, TheFolderItselfMayBeNamed) {
  const fs::path root = testing::scratch_dir("catalog");
  samples::write_idx_folder(root / "mnist", 20, 10);
  EXPECT_EQ(load_dataset("mnist", {.data_dir = root / "mnist"}).train.count(), 20);
  EXPECT_EQ(load_dataset("mnist", {.data_dir = (root / "mnist").string() + "/"}).test.count(), 10);
  EXPECT_NE(message_of("fashion_mnist", {.data_dir = root / "mnist"}), "loaded");
}

TEST(LoadDataset, TheFirstFolderThatHasItServes) {
  const fs::path root = testing::scratch_dir("catalog");
  samples::write_idx_folder(root / "a" / "mnist", 20, 10);
  samples::write_idx_folder(root / "b" / "mnist", 30, 10);
  fs::remove(root / "a" / "mnist" / "t10k-labels-idx1-ubyte");
  LoadOptions options = only(root);
  options.search_path = {{root / "absent", root / "a", root / "b"}};
  EXPECT_EQ(load_dataset("mnist", options).train.count(), 30);
  options.search_path = {{root / "a"}};
  EXPECT_NE(message_of("mnist", options).find("lacks t10k-labels-idx1-ubyte.gz"), std::string::npos)
      << message_of("mnist", options);
}

TEST(LoadDataset, ADamagedFileIsNotPassedOver) {
  const fs::path root = testing::scratch_dir("catalog");
  samples::write_idx_folder(root / "mnist", 20, 10);
  write_file(root / "mnist" / "t10k-images-idx3-ubyte", "short");
  LoadOptions options = only(root);
  options.allow_synthetic = true;
  EXPECT_THROW(load_dataset("mnist", options), CorruptFile);
}

TEST(LoadDataset, ImagesOfAnotherSizeAreRefused) {
  const fs::path root = testing::scratch_dir("catalog");
  samples::write_idx_folder(root / "mnist", 20, 10);
  write_file(root / "mnist" / "t10k-images-idx3-ubyte", samples::idx({10, 4, 4}, samples::noise(160)));
  EXPECT_THROW(load_dataset("mnist", only(root)), CorruptFile);
}

TEST(LoadDataset, AnyWholeNumberOfCifarRecordsWithANotice) {
  const fs::path root = testing::scratch_dir("catalog");
  fs::create_directories(root / "cifar-10" / "cifar-10-batches-bin");
  for (int batch = 1; batch <= 5; ++batch) {
    write_file(root / "cifar-10" / "cifar-10-batches-bin" / fmt::format("data_batch_{}.bin", batch),
               samples::cifar(batch));
  }
  EXPECT_NE(message_of("cifar10", only(root)), "loaded");
  LoadOptions holdout = only(root);
  holdout.holdout = "batch5";
  EXPECT_EQ(load_dataset("cifar10", holdout).train.count(), 10);
  EXPECT_EQ(load_dataset("cifar10", holdout).test.count(), 5);
  write_file(root / "cifar-10" / "cifar-10-batches-bin" / "test_batch.bin", samples::cifar(3));
  const Dataset dataset = load_dataset("cifar10", only(root));
  EXPECT_EQ(dataset.train.count(), 15);
  EXPECT_EQ(dataset.test.count(), 3);
  EXPECT_NE(dataset.notice.find("3 test samples of the published 10000"), std::string::npos) << dataset.notice;
}

TEST(LoadDataset, SyntheticDigitsStandInWithANotice) {
  LoadOptions options = only(testing::scratch_dir("catalog"));
  options.allow_synthetic = true;
  const Dataset dataset = load_dataset("fashion_mnist", options);
  EXPECT_EQ(dataset.name, "synthetic_digits");
  EXPECT_EQ(dataset.train.count(), 60000);
  EXPECT_NE(dataset.notice.find("stands in for fashion_mnist"), std::string::npos) << dataset.notice;
  EXPECT_NE(message_of("cifar10", options).find("Downloading was not allowed"), std::string::npos);
  options.data_dir = testing::scratch_dir("empty");
  EXPECT_NE(message_of("mnist", options).find("Nothing is downloaded when a folder is given"), std::string::npos);
}

TEST(LoadDataset, OfflineIsRespected) {
  const ScopedVariable offline("NIBBLE_OFFLINE", "1");
  LoadOptions options = only(testing::scratch_dir("catalog"));
  options.allow_download = true;
  EXPECT_NE(message_of("cifar10", options).find("NIBBLE_OFFLINE=1"), std::string::npos);
}

TEST(ListDatasets, NamesEveryDatasetAndWhereItLies) {
  const fs::path root = testing::scratch_dir("catalog");
  samples::write_idx_folder(root / "mnist", 20, 10);
  const std::vector<DatasetInfo> rows = list_datasets(only(root));
  ASSERT_EQ(rows.size(), dataset_names().size());
  EXPECT_EQ(rows[0].name, "mnist");
  EXPECT_EQ(rows[0].location, (root / "mnist").string());
  EXPECT_EQ(rows[1].location, "");
  EXPECT_EQ(rows.back().location, "generated");
}

TEST(DataSearchPath, TheVariableComesFirstAndTheCacheLast) {
  const fs::path root = testing::scratch_dir("catalog");
  fs::create_directories(root / "given");
  fs::create_directories(root / "cache" / "nibble");
  const ScopedVariable given("NIBBLE_DATA_DIR", (root / "given").string());
  const ScopedVariable cache("XDG_CACHE_HOME", (root / "cache").string());
  EXPECT_EQ(default_cache_dir(), root / "cache" / "nibble");
  const std::vector<fs::path> folders = data_search_path(default_cache_dir());
  EXPECT_EQ(folders.front(), root / "given");
  EXPECT_EQ(folders.back(), root / "cache" / "nibble");
  const ScopedVariable relative("XDG_CACHE_HOME", "relative");
  const ScopedVariable home("HOME", root.string());
  EXPECT_EQ(default_cache_dir(), root / ".cache" / "nibble");
}

// A mirror of shared/data's layout on this machine.
class Mirror : public ::testing::Test {
 protected:
  void serve(const fs::path& folder) {
    server_.set_mount_point("/", folder.string());
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ~Mirror() override {
    server_.stop();
    if (thread_.joinable()) thread_.join();
  }
  std::string url() const { return fmt::format("http://127.0.0.1:{}", port_); }

 private:
  httplib::Server server_;
  std::thread thread_;
  int port_ = 0;
};

TEST_F(Mirror, FillsTheCacheOnce) {
  const fs::path real = testing::shared_dir() / "data";
  if (!fs::exists(real / "digits")) GTEST_SKIP() << "no real digits at hand";
  const fs::path root = testing::scratch_dir("catalog");
  LoadOptions options{.search_path = std::vector<fs::path>{root}, .cache_dir = root};
  {
    serve(real);
    const ScopedVariable mirror("NIBBLE_DATA_URL", url() + "/");
    const Dataset dataset = load_dataset("digits", options);
    EXPECT_EQ(dataset.train.count(), 3823);
    EXPECT_EQ(dataset.source, (root / "digits").string());
  }
  options.allow_download = false;
  EXPECT_EQ(load_dataset("digits", options).test.count(), 1797);
}

TEST_F(Mirror, WrongBytesAreRefusedAndReported) {
  const fs::path root = testing::scratch_dir("catalog");
  fs::create_directories(root / "served" / "digits");
  write_file(root / "served" / "digits" / "optdigits.tra", samples::noise(563639));
  serve(root / "served");
  const ScopedVariable mirror("NIBBLE_DATA_URL", url());
  const LoadOptions options{.search_path = std::vector<fs::path>{}, .cache_dir = root / "cache"};
  const std::string message = message_of("digits", options);
  EXPECT_NE(message.find("SHA-256"), std::string::npos) << message;
  EXPECT_NE(message.find("NIBBLE_DATA_DIR"), std::string::npos) << message;
  EXPECT_TRUE(fs::is_empty(root / "cache" / "digits"));
}

}  // namespace
}  // namespace nibble::data
