// Models that other programs made, and what other programs compute with them: they load and give the recorded output,
// or are refused in a sentence. The files stay outside the repository; without them this is skipped.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/data/npy.h"
#include "nibble/formats/keras/hdf5_file.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/train/trainer.h"
#include "support/golden.h"

namespace nibble {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::shared_dir;

fs::path models_dir() { return shared_dir().empty() ? fs::path() : shared_dir() / "models"; }

bool is_keras(const fs::path& path) {
  const std::string ending = path.extension().string();
  return ending == ".keras" || ending == ".json" || ending == ".h5";
}

// Recorded model files with their input and output.
std::vector<std::pair<std::string, json>> recorded() {
  std::vector<std::pair<std::string, json>> rows;
  if (models_dir().empty() || !fs::exists(models_dir() / "golden.json")) return rows;
  const json document = json::parse(read_file(models_dir() / "golden.json"));
  for (const auto& [file, row] : document.at("golden").items()) {
    if (is_keras(file)) rows.emplace_back(file, row);
  }
  return rows;
}

Tensor predict(const graph::Model& model, const Tensor& x) { return train::Trainer(model, {}).predict(x); }

double largest_difference(const Tensor& a, const Tensor& b) {
  double scale = 0, difference = 0;
  for (int64_t i = 0; i < b.size(); ++i) {
    scale = std::max(scale, std::abs(static_cast<double>(b[i])));
    difference = std::max(difference, std::abs(static_cast<double>(a[i]) - b[i]));
  }
  return scale == 0 ? difference : difference / scale;
}

TEST(ForeignModels, GiveTheRecordedOutputs) {
  const auto rows = recorded();
  if (rows.empty()) GTEST_SKIP() << "the recorded models are not here";
  for (const auto& [file, row] : rows) {
    SCOPED_TRACE(file);
    const graph::Model model = formats::keras::load_model(models_dir() / file);
    const Tensor x = data::read_npy(models_dir() / row.at("inputs")[0].get<std::string>());
    const Tensor expected = data::read_npy(models_dir() / row.at("outputs")[0].get<std::string>());
    const Tensor y = predict(model, x);
    ASSERT_EQ(y.size(), expected.size());
    const double difference = largest_difference(y, expected);
    fmt::print("{:50} {:3} layers  largest difference {:.1e}\n", file, model.layers.size(), difference);
    EXPECT_LE(difference, 1e-5);
  }
}

// A value of a file of inputs and predictions; two samples each.
Tensor recorded_values(const formats::keras::Hdf5Reader& file, const std::string& group, const std::string& layer,
                       const Shape& sample) {
  std::vector<int64_t> extents = {2};
  extents.insert(extents.end(), sample.begin(), sample.end());
  return file.tensor("/" + group + "/" + layer, Shape(extents));
}

// Networks of one layer or two, with what Keras itself predicted.
TEST(ForeignModels, PredictWhatKerasPredicted) {
  const fs::path folder = models_dir() / "keras_single_layer";
  if (models_dir().empty() || !fs::is_directory(folder)) GTEST_SKIP() << "the recorded models are not here";
  constexpr std::string_view kEnding = "_model.h5";
  int equal = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    std::string name = entry.path().filename().string();
    if (!name.ends_with(kEnding)) continue;
    name.resize(name.size() - kEnding.size());
    SCOPED_TRACE(name);
    const graph::Model model = formats::keras::load_model(entry.path());
    const std::map<std::string, Shape> shapes = graph::infer_shapes(model);
    const std::string &input = model.inputs.at(0), &output = model.outputs.at(0);
    const fs::path values = folder / (name + "_inputs_and_outputs.h5");
    const formats::keras::Hdf5Reader file(read_file(values), values.string());
    const Tensor y = predict(model, recorded_values(file, "inputs", input, shapes.at(input)));
    const Tensor expected = recorded_values(file, "predictions", output, shapes.at(output));
    const double difference = largest_difference(y, expected);
    fmt::print("{:50} {:3} layers  largest difference {:.1e}\n", name, model.layers.size(), difference);
    EXPECT_LE(difference, 1e-5);
    ++equal;
  }
  EXPECT_EQ(equal, 40);  // 16 of them have their channels first
}

// One network, four forms: the same numbers, bit for bit.
TEST(ForeignModels, EveryFormPredictsTheSame) {
  const auto rows = recorded();
  if (rows.empty()) GTEST_SKIP() << "the recorded models are not here";
  const fs::path scratch = testing::scratch_dir("forms");
  for (const auto& [file, row] : rows) {
    SCOPED_TRACE(file);
    const graph::Model model = formats::keras::load_model(models_dir() / file);
    const Tensor x = data::read_npy(models_dir() / row.at("inputs")[0].get<std::string>());
    const Tensor expected = predict(model, x);
    for (const char* form : {"m.keras", "m.h5", "m.json"}) {
      formats::keras::save_model(model, scratch / form);
      EXPECT_EQ(predict(formats::keras::load_model(scratch / form), x), expected) << form;
    }
  }
  const fs::path hls4ml = models_dir() / "hls4ml";
  const Tensor x = data::read_npy(hls4ml / "golden/qkeras_3layer.json.in0.npy");
  EXPECT_EQ(predict(formats::keras::load_model(hls4ml / "qkeras_3layer.json"), x),
            predict(formats::keras::load_model(hls4ml / "qkeras-v3_3layer.keras"), x));
}

TEST(ForeignModels, OthersAreRefusedInASentence) {
  if (recorded().empty()) GTEST_SKIP() << "the recorded models are not here";
  int loaded = 0, refused = 0;
  for (const auto& entry : fs::recursive_directory_iterator(models_dir())) {
    const fs::path& path = entry.path();
    const std::string name = path.filename().string();
    const bool is_model = entry.is_regular_file() && is_keras(path) && !name.ends_with("_weights.h5") &&
                          !name.ends_with("_outputs.h5") && name != "golden.json" && name != "manifest.json";
    if (!is_model) continue;
    try {
      const graph::Model model = formats::keras::load_model(path);
      train::Trainer trainer(model, {});
      ++loaded;
    } catch (const Error& error) {
      ++refused;
      const std::string message = error.what();
      fmt::print("{:50} {:.160}\n", name, message);
      // Which layer, of what class, and what would do.
      EXPECT_NE(message.find("layer '"), std::string::npos) << message;
      EXPECT_NE(message.find("Known: "), std::string::npos) << message;
    }
  }
  fmt::print("{} models load and run, {} are refused\n", loaded, refused);
  EXPECT_EQ(loaded, 57);
  EXPECT_EQ(refused, 2);
}

}  // namespace
}  // namespace nibble
