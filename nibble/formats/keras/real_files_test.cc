// Real files of other programs, which stay outside the repository.
#include <gtest/gtest.h>

#include "nibble/core/error.h"
#include "nibble/formats/keras/keras_file.h"
#include "support/golden.h"

namespace nibble::formats::keras {
namespace {

namespace fs = std::filesystem;

struct Row {
  const char* file;
  int64_t parameters;  // numbers in all weights; -1: refused
  const char* says;    // part of the refusal
};

int64_t parameters(const graph::Model& model) {
  int64_t count = 0;
  for (const auto& layer : model.layers) {
    for (const auto& weight : layer.weights) count += weight.value.size();
  }
  return count;
}

class RealFiles : public ::testing::TestWithParam<Row> {};
TEST_P(RealFiles, LoadOrSayWhyNot) {
  const Row& row = GetParam();
  const fs::path shared = testing::shared_dir();
  if (shared.empty() || !fs::exists(shared / "models" / row.file)) GTEST_SKIP() << row.file << " is not here";
  const fs::path path = shared / "models" / row.file;
  if (row.parameters < 0) {
    try {
      load_model(path);
      FAIL() << "expected a refusal";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(row.says), std::string::npos) << error.what();
    }
    return;
  }
  const graph::Model model = load_model(path);
  EXPECT_EQ(parameters(model), row.parameters);
  const fs::path copy = testing::scratch_dir("real_files") / "copy.keras";
  save_model(model, copy);
  EXPECT_TRUE(load_model(copy) == model) << "import, export, import";
}

INSTANTIATE_TEST_SUITE_P(
    Rows, RealFiles,
    ::testing::Values(Row{"hls4ml/qkeras-v3_3layer.keras", 4389, ""}, Row{"hls4ml/qkeras_3layer.json", 4389, ""},
                      Row{"hls4ml/KERAS_3layer.json", 4389, ""}, Row{"hls4ml/KERAS_3layer_batch_norm.json", 4921, ""},
                      Row{"hls4ml/KERAS_conv2d_model.json", 1310, ""},
                      Row{"hls4ml/jetTagger_Conv2D_Small.json", 891, ""},
                      Row{"hls4ml/KERAS_3layer_ternary_small.json", -1, "TernaryDense"},
                      Row{"hls4ml/hgq_jet_classifier.h5", -1, "FixedPointQuantizer"},
                      Row{"hls4ml/qkeras_3layer_weights.h5", -1, "model_config"},
                      Row{"fashion_mnist/fashion_mnist_model.h5", 225034, ""},
                      Row{"mlperf_tiny/pretrainedResnet.h5", 78666, ""}, Row{"mlperf_tiny/ad01.h5", 269992, ""},
                      Row{"keras_layers/cnn2d_64.h5", 260, ""}, Row{"keras_layers/cnn2d_101.h5", 60, ""},
                      Row{"keras_layers/cnn2d_113.h5", 260, ""}, Row{"keras_layers/act_2.h5", 12, ""},
                      Row{"keras_layers/act_8.h5", 12, ""}, Row{"keras_layers/batchNormError2.h5", 16422, ""},
                      Row{"keras_layers/adv_act_1.h5", 0, ""}, Row{"keras_layers/adv_act_4.h5", 0, ""}));

// Every other .h5 with a model.
TEST(RealFiles, AllSingleLayerModels) {
  const fs::path folder = testing::shared_dir() / "models" / "keras_single_layer";
  if (!fs::is_directory(folder)) GTEST_SKIP() << "the folder keras_single_layer is not here";
  int loaded = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().string().find("_model.h5") == std::string::npos) continue;
    EXPECT_NO_THROW(load_model(entry.path())) << entry.path();
    ++loaded;
  }
  EXPECT_EQ(loaded, 40);
}

}  // namespace
}  // namespace nibble::formats::keras
