// The fused path against plain torch operations, gradients against differences, and the plan.
#include "nibble/train/network.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "nibble/graph/model.h"

namespace nibble::train {
namespace {

using graph::Attribute;
using graph::Layer;
using graph::make_layer;
using Attributes = std::map<std::string, Attribute>;
using Ints = std::vector<int64_t>;

// A chain of layers, each fed by the one before.
class Chain {
 public:
  explicit Chain(Ints shape) {
    add("InputLayer", "input", {{"shape", shape}});
    model_.inputs = {"input"};
  }

  Chain& add(const std::string& class_name, const std::string& name, Attributes attributes = {}) {
    Layer layer = make_layer(class_name, name, std::move(attributes));
    if (!model_.layers.empty()) layer.inputs = {model_.layers.back().name};
    model_.layers.push_back(std::move(layer));
    model_.outputs = {name};
    return *this;
  }

  graph::Model build(uint64_t seed = 7) {
    graph::initialize_weights(model_, seed);
    // Statistics, scales and offsets that differ per channel, so that mix-ups show.
    for (Layer& layer : model_.layers) {
      RandomStream stream({seed, RandomPurpose::kTest, static_cast<uint32_t>(model_.index_of(layer.name)), 0});
      for (graph::Weight& weight : layer.weights) {
        for (float& value : weight.value.data()) {
          if (weight.name == "gamma" || weight.name == "moving_variance") value = 0.5f + stream.uniform();
          if (weight.name == "beta" || weight.name == "moving_mean" || weight.name == "bias") {
            value = stream.uniform() - 0.5f;
          }
        }
      }
    }
    return model_;
  }

 private:
  graph::Model model_;
};

Attribute ints(int64_t a, int64_t b) { return Ints{a, b}; }

Attributes convolution(int64_t filters, int64_t kernel, int64_t stride, bool bias = false, Attributes more = {}) {
  more.insert({{"filters", filters},
               {"kernel_size", ints(kernel, kernel)},
               {"strides", ints(stride, stride)},
               {"padding", std::string("same")},
               {"use_bias", bias},
               {"kernel_initializer", std::string("he_uniform")}});
  return more;
}

Attribute text(const char* value) { return std::string(value); }

struct NetworkCase {
  const char* name;
  std::function<graph::Model()> build;
  int64_t batch;
};

std::vector<NetworkCase> cases() {
  return {
      {"FloatConvolutionStridesUnevenly",
       [] {
         return Chain({9, 8, 3}).add("Conv2D", "c", convolution(5, 3, 2, true)).add("Flatten", "f").build();
       },
       5},
      {"ConvolutionsToASinglePixel",
       [] {
         return Chain({2, 2, 3})
             .add("Conv2D", "c0", convolution(6, 3, 2))
             .add("BatchNormalization", "b0")
             .add("Conv2D", "c1", convolution(5, 1, 1, true))
             .add("Flatten", "f")
             .build();
       },
       19},
      {"BatchNormReluDropout",
       [] {
         return Chain({8, 8, 2})
             .add("Conv2D", "c0", convolution(6, 3, 2))
             .add("BatchNormalization", "b0")
             .add("Activation", "a0", {{"activation", text("relu")}})
             .add("Dropout", "d0", {{"rate", 0.25}})
             .add("Conv2D", "c1", convolution(7, 3, 1))
             .add("BatchNormalization", "b1")
             .add("Activation", "a1", {{"activation", text("relu")}})
             .add("Flatten", "f")
             .add("Dense", "dense", {{"units", int64_t{4}}})
             .build();
       },
       37},
      {"BatchNormOnTheInput",
       [] {
         return Chain({6, 6, 3})
             .add("BatchNormalization", "b0")
             .add("Activation", "a0", {{"activation", text("relu")}})
             .add("Conv2D", "c0", convolution(4, 3, 1))
             .add("Flatten", "f")
             .build();
       },
       21},
      {"GroupedConvolutions",
       [] {
         return Chain({8, 8, 6})
             .add("Conv2D", "c0", convolution(6, 3, 1, false, {{"groups", int64_t{2}}}))
             .add("BatchNormalization", "b0")
             .add("Conv2D", "c1", convolution(5, 3, 2, true))
             .add("Flatten", "f")
             .build();
       },
       40},
      {"QuantizedChain",
       [] {
         return Chain({12, 12, 1})
             .add("QConv2D", "c0",
                  convolution(8, 3, 2, false, {{"kernel_quantizer", text("quantized_bits(4,0,1,alpha=1.0)")}}))
             .add("BatchNormalization", "b0")
             .add("QActivation", "a0", {{"activation", text("quantized_relu(4,2)")}})
             .add("Dropout", "d0", {{"rate", 0.2}})
             .add("QConv2D", "c1", convolution(16, 3, 2, false, {{"kernel_quantizer", text("ternary")}}))
             .add("QBatchNormalization", "b1",
                  {{"gamma_quantizer", graph::None{}},
                   {"beta_quantizer", graph::None{}},
                   {"mean_quantizer", graph::None{}},
                   {"variance_quantizer", graph::None{}}})
             .add("QActivation", "a1", {{"activation", text("binary")}})
             .add("Flatten", "f")
             .add("QDense", "dense", {{"units", int64_t{4}}, {"kernel_quantizer", text("quantized_bits(4,0,1)")}})
             .build();
       },
       33},
      {"DepthwisePoolBatchNormAfterPool",
       [] {
         return Chain({8, 8, 3})
             .add("DepthwiseConv2D", "dw",
                  {{"kernel_size", ints(3, 3)}, {"padding", text("same")}, {"use_bias", false}})
             .add("BatchNormalization", "b0")
             .add("Activation", "a0", {{"activation", text("relu")}})
             .add("Conv2D", "pw", convolution(8, 1, 1))
             .add("MaxPooling2D", "mp", {{"pool_size", ints(2, 2)}, {"strides", ints(2, 2)}})
             .add("BatchNormalization", "b1")
             .add("Activation", "a1", {{"activation", text("relu")}})
             .add("Dropout", "d1", {{"rate", 0.5}})
             .add("Flatten", "f")
             .add("Dense", "dense", {{"units", int64_t{3}}})
             .build();
       },
       20},
      {"QuantizedBatchNormParameters",
       [] {
         return Chain({6, 6, 2})
             .add("Conv2D", "c0", convolution(4, 3, 1))
             .add("QBatchNormalization", "b0")
             .add("QActivation", "a0", {{"activation", text("quantized_relu(6,2)")}})
             .add("Flatten", "f")
             .add("Dense", "dense", {{"units", int64_t{3}}})
             .build();
       },
       18},
      {"LayerOpsBetweenConvolutions",
       [] {
         return Chain({4, 6, 2})
             .add("UpSampling2D", "up", {{"size", ints(2, 3)}})
             .add("Conv2D", "c0", convolution(4, 3, 1))
             .add("Cropping2D", "crop", {{"cropping", Ints{1, 0, 2, 3}}})
             .add("BatchNormalization", "b0")
             .add("Permute", "turn", {{"dims", Ints{2, 1, 3}}})
             .add("Conv2D", "c1", convolution(3, 3, 2))
             .add("Flatten", "f")
             .build();
       },
       21},
  };
}

class FusedEqualsPlain : public testing::TestWithParam<NetworkCase> {};

at::Tensor test_input(const graph::Model& model, int64_t batch) {
  const Shape shape = graph::infer_shapes(model).at("input");
  std::vector<int64_t> extents = {batch};
  extents.insert(extents.end(), shape.begin(), shape.end());
  at::Tensor x = at::empty(extents, at::kFloat);
  RandomStream stream({3, RandomPurpose::kTest, 99, 0});
  for (int64_t i = 0; i < x.numel(); ++i) x.data_ptr<float>()[i] = stream.uniform() * 2 - 1;
  return x;
}

// Sums in another order: relative to the largest value, a few hundred ulps.
void expect_close(const at::Tensor& a, const at::Tensor& b, double tolerance, const std::string& what) {
  ASSERT_EQ(a.sizes(), b.sizes()) << what;
  const double scale = std::max(1e-3, b.abs().max().item<double>());
  EXPECT_LE((a - b).abs().max().item<double>() / scale, tolerance) << what;
}

TEST_P(FusedEqualsPlain, ValuesAndGradients) {
  const graph::Model model = GetParam().build();
  Network fused(model, true, 5), plain(model, false, 5);
  const at::Tensor x = test_input(model, GetParam().batch);
  for (Pass pass : {Pass::kInference, Pass::kTraining}) {
    const at::Tensor a = fused.forward(x, pass, 11, false), b = plain.forward(x, pass, 11, false);
    expect_close(a, b, 2e-5, pass == Pass::kTraining ? "training value" : "inference value");
    if (pass != Pass::kTraining) continue;
    const at::Tensor upstream = test_input(model, a.numel()).flatten().slice(0, 0, a.numel()).view(a.sizes());
    a.backward(upstream);
    b.backward(upstream);
    for (size_t i = 0; i < fused.parameters().size(); ++i) {
      const Parameter& p = fused.parameters()[i];
      const graph::Layer& layer = model.layers[static_cast<size_t>(p.layer)];
      const std::string name = layer.name + "/" + layer.weights[static_cast<size_t>(p.weight)].name;
      if (!p.trainable) {
        expect_close(p.value, plain.parameters()[i].value, 1e-5, name);
      } else {
        expect_close(p.value.grad(), plain.parameters()[i].value.grad(), 1e-4, "gradient of " + name);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Networks, FusedEqualsPlain, testing::ValuesIn(cases()),
                         [](const auto& row) { return row.param.name; });

TEST(Network, EverySizeOfBatchGivesTheValuesOfThePlainPath) {
  const graph::Model model = cases()[0].build();
  Network fused(model, true, 5), plain(model, false, 5);
  const at::NoGradGuard no_gradient;
  for (int64_t batch = 1; batch < 2000; batch += 97) {
    const at::Tensor x = test_input(model, batch);
    expect_close(fused.forward(x, Pass::kInference, 0, false), plain.forward(x, Pass::kInference, 0, false), 2e-5,
                 std::to_string(batch));
  }
}

TEST(Network, FrozenBatchNormKeepsItsStatistics) {
  graph::Model model = cases()[2].build();
  model.layer("b0").trainable = false;
  Network network(model, true, 5);
  network.forward(test_input(model, 20), Pass::kTraining, 1, false);
  EXPECT_EQ(network.model().layer("b0"), model.layer("b0"));
}

TEST(Fusion, TutorialBlockIsOneStepAConvolution) {
  const graph::Model model = cases()[2].build();
  const Plan plan = fuse(lower(model));
  std::vector<StepKind> kinds;
  for (const Step& step : plan.steps) kinds.push_back(step.kind);
  const std::vector<StepKind> expected = {StepKind::kInput, StepKind::kConvolution, StepKind::kConvolution,
                                          StepKind::kFused, StepKind::kReshape,     StepKind::kDense};
  EXPECT_EQ(kinds, expected);
  EXPECT_TRUE(plan.steps[1].gives_moments);
  EXPECT_TRUE(plan.steps[1].gradient_is_pending);
  EXPECT_TRUE(plan.steps[2].prologue.has_value());
}

// The gradient of a smooth network equals differences of its value.
TEST(Gradient, EqualsDifferencesOfTheLoss) {
  graph::Model model = Chain({6, 6, 2})
                           .add("Conv2D", "c0", convolution(4, 3, 2, true))
                           .add("BatchNormalization", "b0")
                           .add("Conv2D", "c1", convolution(3, 3, 1))
                           .add("Flatten", "f")
                           .add("Dense", "dense", {{"units", int64_t{2}}})
                           .build();
  const at::Tensor x = test_input(model, 8);
  Network network(model, true, 5);
  const auto loss = [&] { return network.forward(x, Pass::kTraining, 1, false).pow(2).sum(); };
  loss().backward();
  for (const Parameter& p : network.parameters()) {
    if (!p.trainable) continue;
    for (int64_t i = 0; i < p.value.numel(); i += std::max<int64_t>(1, p.value.numel() / 5)) {
      const at::NoGradGuard no_gradient;
      float& w = p.value.data_ptr<float>()[i];
      const float before = w, h = 1e-2f;
      w = before + h;
      const double above = loss().item<double>();
      w = before - h;
      const double below = loss().item<double>();
      w = before;
      const double numeric = (above - below) / (2 * h);
      const double analytic = p.value.grad().flatten()[i].item<double>();
      // Central differences of a float sum: about h^2 and ulp/h.
      EXPECT_NEAR(analytic, numeric, 2e-2 * std::max(1.0, std::abs(numeric)));
    }
  }
}

}  // namespace
}  // namespace nibble::train
