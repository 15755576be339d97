// quantized_model_debug of the recorded models, and quantized_model_dump.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <sstream>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/train/layer_outputs.h"
#include "nibble/transform/golden_model.h"
#include "support/golden.h"
#include "support/golden_rows.h"

namespace nibble::train {
namespace {

using nlohmann::json;
using testing::golden_json;

json rows() {
  const json document = golden_json("utils/model_statistics");
  return document.is_null() ? document : document.at("cases");
}

// Words of a text; brackets stand alone, so that numbers can be compared as numbers.
std::vector<std::string> words_of(std::string text) {
  for (const char bracket : {'(', ')', '[', ']'}) {
    for (size_t at = 0; (at = text.find(bracket, at)) != std::string::npos; at += 3) {
      text.replace(at, 1, std::string(" ") + bracket + " ");
    }
  }
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

// Equal, but for one unit of the last printed digit: sums are made in another order.
bool same_word(const std::string& a, const std::string& b) {
  if (a == b) return true;
  char *end_a = nullptr, *end_b = nullptr;
  const double x = std::strtod(a.c_str(), &end_a), y = std::strtod(b.c_str(), &end_b);
  return *end_a == 0 && *end_b == 0 && std::abs(x - y) < 1.5e-4;
}

std::string compare(const std::string& found, const std::string& expected) {
  const auto a = words_of(found), b = words_of(expected);
  const bool same = std::equal(a.begin(), a.end(), b.begin(), b.end(), same_word);
  const bool same_layout = found.size() == expected.size();
  return same && same_layout ? "" : "text:\n" + found + "instead of\n" + expected;
}

// FIX: a model with one layer of QKeras has one output, not a list of them; the reference then pairs the layer's name
// with the first sample alone.
std::string text_as_reference(const graph::Model& model, const Tensor& x) {
  const std::string text = model_debug_text(model, x);
  const auto is_of_qkeras = [](const graph::Layer& layer) { return layer.class_name.starts_with("Q"); };
  if (std::count_if(model.layers.begin(), model.layers.end(), is_of_qkeras) != 1) return text;
  std::vector<int64_t> extents = x.shape().extents();
  const int64_t size = x.size() / extents[0];
  extents[0] = 1;
  const Tensor first(Shape(extents), std::vector<float>(x.data().begin(), x.data().begin() + size));
  const std::string layers = model_debug_text(model, first);
  return text.substr(0, text.find('\n')) + layers.substr(layers.find('\n'));
}

std::string check(const json& row, const std::string& activation) {
  const Tensor x = testing::golden_tensor(row.at("debug_input"));
  return compare(text_as_reference(transform::model_of(row, activation), x),
                 row.at("quantized_model_debug_text").get<std::string>());
}

TEST(ModelDebugGolden, TextsAreThoseOfTheReference) {
  testing::each_row("quantized_model_debug", rows(), [](const json& row) {
    const std::string wrong = check(row, transform::activation_of(row));
    const bool has_activation = row.at("layers").dump().find("QActivation") != std::string::npos;
    for (const char* other : transform::kOtherActivations) {
      if (wrong.empty() && has_activation && check(row, other).empty()) return std::string(other) + " fits as well";
    }
    return wrong;
  });
}

graph::Model dense_model() {
  graph::Model model;
  model.layers = {graph::make_layer("InputLayer", "in", {{"shape", std::vector<int64_t>{2}}}),
                  graph::make_layer("QDense", "block/d", {{"units", int64_t{3}}, {"kernel_quantizer", "ternary"}})};
  model.layers[1].inputs = {"in"};
  model.inputs = {"in"};
  model.outputs = {"block/d"};
  return model;
}

TEST(ModelDebug, FoldedLayersShowTheirFoldedWeights) {
  graph::Model model = dense_model();
  model.layers[1] = graph::make_layer("QDenseBatchnorm", "folded",
                                      {{"units", int64_t{2}},
                                       {"epsilon", 0.0},
                                       {"kernel_quantizer", "quantized_bits(4,0,1,alpha=1.0)"},
                                       {"bias_quantizer", "quantized_bits(3,0,1)"}});
  model.layers[1].inputs = {"in"};
  model.outputs = {"folded"};
  graph::initialize_weights(model, 5);
  const auto set = [&](const char* name, std::vector<float> values) {
    Tensor& weight = model.layer("folded").find_weight(name)->value;
    weight = Tensor(weight.shape(), std::move(values));
  };
  set("kernel", {1.0f, 0.5f, -2.0f, 1.5f});
  set("gamma", {0.5f, 1.0f});
  set("beta", {0.3f, 0.0f});
  set("moving_mean", {0.0f, 0.0f});
  set("moving_variance", {4.0f, 16.0f});
  const std::string text = model_debug_text(model, Tensor(Shape{1, 2}, {1, 1}));
  // The kernel times gamma / sqrt(variance); beta in quarters.
  EXPECT_NE(text.find(" ( -0.5000   0.3750) (  0.0000   0.2500)"), std::string::npos) << text;
}

TEST(ModelDump, WritesFloat32OfEachLayer) {
  graph::Model model = dense_model();
  graph::initialize_weights(model, 5);
  const Tensor x(Shape{2, 2}, {1, 2, 3, 4});
  const auto directory = testing::scratch_dir("dump") / "outputs";
  const auto files = dump_layer_outputs(model, x, directory);
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(files[0].filename(), "block_d.bin");
  const std::string bytes = read_file(files[0]);
  const Tensor expected = layer_outputs(model, x).at(0).value;
  ASSERT_EQ(bytes.size(), expected.data().size_bytes());
  EXPECT_EQ(std::memcmp(bytes.data(), expected.data().data(), bytes.size()), 0);
}

TEST(ModelDump, RefusesAModelWithoutWeights) {
  EXPECT_THROW(layer_outputs(dense_model(), Tensor(Shape{1, 2})), InvalidArgument);
}

}  // namespace
}  // namespace nibble::train
