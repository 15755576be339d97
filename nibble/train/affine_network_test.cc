// Networks with affine quantization, seen from inside: what is computed, which gradients flow, which ranges move.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/train/network.h"
#include "nibble/transform/qat/quantize_apply.h"

namespace nibble::train {
namespace {

using graph::AffineKind;
using graph::AffineQuantizer;
using graph::LayerQuantization;
using graph::Model;
using namespace graph::build;

at::Tensor batch(int64_t count, uint32_t number) {
  RandomStream stream({2, RandomPurpose::kTest, number, 0});
  at::Tensor x = at::empty({count, 6, 6, 2}, at::kFloat);
  for (int64_t i = 0; i < x.numel(); ++i) x.data_ptr<float>()[i] = stream.normal();
  return x;
}

Model float_model(const std::string& activation = "relu") {
  const Node in = Input({.shape = {6, 6, 2}, .name = "in"});
  Node x = Conv2D({.filters = 4, .kernel_size = {3, 3}, .activation = activation, .name = "conv"})(in);
  x = DepthwiseConv2D({.kernel_size = {2, 2}, .depth_multiplier = 2, .activation = "relu", .name = "depthwise"})(x);
  x = Dense({.units = 3, .name = "dense"})(Flatten({.name = "flat"})(MaxPooling2D({.name = "pool"})(x)));
  Model model = build_model({in}, {x}, "m");
  graph::initialize_weights(model, 5);
  return model;
}

at::Tensor weight(const Model& model, const char* layer, const char* name) {
  const Tensor& value = model.layer(layer).find_weight(name)->value;
  at::Tensor t = at::empty(value.shape().extents(), at::kFloat);
  std::copy(value.data().begin(), value.data().end(), t.data_ptr<float>());
  return t;
}

const Parameter& parameter(const Network& network, const char* layer, const char* name) {
  for (const Parameter& each : network.parameters()) {
    const graph::Layer& owner = network.structure().layers[static_cast<size_t>(each.layer)];
    if (owner.name == layer && owner.weights[static_cast<size_t>(each.weight)].name == name) return each;
  }
  throw InvalidArgument("no weight {} of {}", name, layer);
}

at::Tensor loss_of(Network& network, const at::Tensor& x, Pass pass = Pass::kTraining) {
  const at::Tensor y = network.forward(x, pass, 0, false);
  return (y * at::linspace(0.5, 1.5, y.numel()).reshape(y.sizes())).sum();
}

LayerQuantization kernel_only(AffineKind kind, bool per_axis, int bits = 3) {
  return {.weights = {{"kernel", {.kind = kind, .num_bits = bits, .per_axis = per_axis, .symmetric = true}}}};
}

LayerQuantization by_the_tensor(LayerQuantization q) {
  for (graph::WeightQuantizer& each : q.weights) each.quantizer.gradient_elements = affine::GradientElements::kTensor;
  if (!q.post_activation.is_none()) q.post_activation.gradient_elements = affine::GradientElements::kTensor;
  return q;
}

// The float network at the quantized kernel has the same loss, and the same gradient where weights are inside.
TEST(AffineNetwork, KernelGradientIsTheFloatOneUnderTheMask) {
  for (const bool fused : {false, true}) {
    for (const bool per_axis : {false, true}) {
      Model quantized = float_model();
      graph::set_quantization(quantized, "conv", kernel_only(AffineKind::kAllValues, per_axis));
      const size_t channels = per_axis ? 4 : 1;
      graph::store_ranges(quantized.layer("conv"), "kernel", std::vector<affine::Range>(channels, {-0.2f, 0.2f}));
      Network network(quantized, fused, 1);
      network.set_quantization_phase({.ranges_move = false});
      const at::Tensor x = batch(3, 1);
      const at::Tensor loss = loss_of(network, x);
      loss.backward();

      Model plain = float_model();
      auto kernel = plain.layer("conv").find_weight("kernel")->value.data();
      const auto range = affine::nudge({-0.2f, 0.2f}, {.bit_width = 3});
      std::vector<bool> inside;
      const auto rule = per_axis ? affine::StepRule::kMultiply : affine::StepRule::kDivide;
      for (float& w : kernel) {
        inside.push_back(w >= range.min && w <= range.max);
        w = affine::fake_quant(w, range, rule);
      }
      EXPECT_GT(std::count(inside.begin(), inside.end(), false), 0);
      Network reference(plain, fused, 1);
      const at::Tensor expected = loss_of(reference, x);
      expected.backward();
      EXPECT_EQ(loss.item<float>(), expected.item<float>());
      const at::Tensor found = parameter(network, "conv", "kernel").value.grad().flatten();
      const at::Tensor wanted = parameter(reference, "conv", "kernel").value.grad().flatten();
      for (size_t i = 0; i < inside.size(); ++i) {
        EXPECT_EQ(found.data_ptr<float>()[i], inside[i] ? wanted.data_ptr<float>()[i] : 0.0f) << i;
      }
    }
  }
}

// Where everything saturates, the loss is a true function of the learned parameter: its slope can be measured.
double slope(Model model, const char* layer, const char* variable, const at::Tensor& x) {
  constexpr float kStep = 0.05f;
  double values[2];
  for (int side : {0, 1}) {
    Model moved = model;
    for (float& v : moved.layer(layer).find_weight(variable)->value.data()) v *= side == 0 ? 1 - kStep : 1 + kStep;
    Network network(moved, false, 1);
    values[side] = loss_of(network, x).item<double>();
  }
  return (values[1] - values[0]) / (2 * kStep * model.layer(layer).find_weight(variable)->value[0]);
}

struct SlopeCase {
  const char* name;
  const char* layer;
  LayerQuantization quantization;
  const char* variable;
  float start;
  double scale;  // of the gradient
};

class LearnedSlope : public testing::TestWithParam<SlopeCase> {};

TEST_P(LearnedSlope, IsTheMeasuredOne) {
  const SlopeCase& c = GetParam();
  Model model = float_model();
  for (float& b : model.layer("conv").find_weight("bias")->value.data()) b = 0.3f;
  graph::set_quantization(model, c.layer, c.quantization);
  for (float& v : model.layer(c.layer).find_weight(c.variable)->value.data()) v = c.start;
  const at::Tensor x = batch(3, 1);
  Network network(model, false, 1);
  loss_of(network, x).backward();
  const double found = parameter(network, c.layer, c.variable).value.grad().sum().item<double>();
  const double measured = slope(model, c.layer, c.variable, x) * c.scale;
  EXPECT_NEAR(found, measured, 2e-2 * std::abs(measured) + 1e-3);  // float32 losses, small differences
  EXPECT_GT(std::abs(measured), 1e-4);
}

INSTANTIATE_TEST_SUITE_P(
    Rows, LearnedSlope,
    testing::Values(
        // 3 bits: codes -4 .. 3; conv kernels have 72 weights.
        SlopeCase{"LsqOfWeights", "conv", kernel_only(AffineKind::kLsq, false), "kernel_step", 1e-4f,
                  1.0 / std::sqrt(72.0 * 3)},
        SlopeCase{"LsqPerAxis", "conv", kernel_only(AffineKind::kLsq, true), "kernel_step", 1e-4f,
                  1.0 / std::sqrt(18.0 * 3)},
        SlopeCase{"LsqPlusOfWeights", "conv", kernel_only(AffineKind::kLsqPlus, false), "kernel_step", 1e-4f,
                  1.0 / std::sqrt(72.0 * 3)},
        // (4, 4, 4) features of one sample; unsigned codes 0 .. 7. Zeros of ReLU are at the lowest code.
        SlopeCase{"LsqOfActivations",
                  "conv",
                  {.post_activation = {.kind = AffineKind::kLsq, .num_bits = 3}},
                  "post_activation_step",
                  1e-4f,
                  1.0 / std::sqrt(64.0 * 7)},
        SlopeCase{"LsqPerAxisOfActivations",
                  "conv",
                  {.post_activation = {.kind = AffineKind::kLsq, .num_bits = 3, .per_axis = true}},
                  "post_activation_step",
                  1e-4f,
                  1.0 / std::sqrt(16.0 * 7)},
        // N as some public code counts it: every channel, and every one of the 3 samples.
        SlopeCase{"LsqPerAxisByTheTensor", "conv", by_the_tensor(kernel_only(AffineKind::kLsq, true)), "kernel_step",
                  1e-4f, 1.0 / std::sqrt(72.0 * 3)},
        SlopeCase{"LsqPlusOfActivationsByTheTensor", "conv",
                  by_the_tensor({.post_activation = {.kind = AffineKind::kLsqPlus, .num_bits = 3}}),
                  "post_activation_step", 1e-4f, 1.0 / std::sqrt(192.0 * 7)},
        SlopeCase{"Pact",
                  "conv",
                  {.post_activation = {.kind = AffineKind::kPact, .num_bits = 3}},
                  "post_activation_alpha",
                  1e-3f,
                  1.0}),
    [](const auto& row) { return row.param.name; });

Model everything(AffineKind weights, AffineKind activations, const std::string& activation = "relu",
                 affine::RangeRule ranges = affine::RangeRule::kExtremes) {
  qat::Scheme scheme = qat::scheme_named("int4");
  scheme.ranges = ranges;
  scheme.weights = weights;
  scheme.activations = activations;
  return qat::quantize_model(float_model(activation), scheme);
}

TEST(AffineNetwork, DorefasGradientsAreDrawnAnewInEachStep) {
  Model model = float_model();
  graph::set_quantization(
      model, "conv",
      LayerQuantization{.post_activation = {.kind = AffineKind::kDorefa, .num_bits = 4, .gradient_bits = 2}});
  Network network(model, true, 1);
  const at::Tensor x = batch(3, 1);
  const auto gradient = [&](uint32_t step) {
    const at::Tensor& kernel = parameter(network, "conv", "kernel").value;
    if (kernel.grad().defined()) kernel.grad().zero_();
    network.forward(x, Pass::kTraining, step, false).sum().backward();
    return kernel.grad().clone();
  };
  EXPECT_TRUE(at::equal(gradient(1), gradient(1)));
  EXPECT_FALSE(at::equal(gradient(1), gradient(2)));
}

TEST(AffineNetwork, FusedAndPlainAgree) {
  for (const AffineKind kind : {AffineKind::kLastValue, AffineKind::kLsq}) {
    const Model model = everything(kind, kind == AffineKind::kLsq ? kind : AffineKind::kMovingAverage);
    Network fused(model, true, 1), plain(model, false, 1);
    const at::Tensor x = batch(16, 1);
    // Two steps: the second starts from the first's ranges.
    for (int step : {0, 1}) {
      loss_of(fused, x).backward();
      loss_of(plain, x).backward();
      EXPECT_LT((fused.forward(x, Pass::kInference, 0, false) - plain.forward(x, Pass::kInference, 0, false))
                    .abs()
                    .max()
                    .item<float>(),
                0.06f)
          << "a sum rounded otherwise may take another code, " << step;
    }
  }
}

TEST(AffineNetwork, RangesMoveInTrainingOnly) {
  Network network(everything(AffineKind::kLastValue, AffineKind::kMovingAverage), true, 1);
  const Model before = network.model();
  network.forward(batch(4, 1), Pass::kInference, 0, false);
  EXPECT_EQ(network.model(), before);
  loss_of(network, batch(4, 1));
  const Model after = network.model();
  const auto kernel = weight(after, "conv", "kernel");
  const auto largest = kernel.abs().amax(at::IntArrayRef{0, 1, 2});
  EXPECT_TRUE(at::equal(weight(after, "conv", "kernel_max"), largest)) << "symmetric, one for each filter";
  EXPECT_TRUE(at::equal(weight(after, "conv", "kernel_min"), -largest));
  EXPECT_EQ(after.layer("depthwise").find_weight("depthwise_kernel_max")->value.shape(), Shape{8});
  EXPECT_TRUE(at::equal(weight(after, "in", "output_max"), batch(4, 1).max()));
  EXPECT_EQ(graph::uncalibrated_point(after.layer("dense")), "");
  graph::require_calibrated(after, "test");

  network.set_quantization_phase({.ranges_move = false});
  loss_of(network, 3 * batch(4, 2));
  EXPECT_EQ(network.model(), after) << "frozen";
  network.set_quantization_phase({.applies = false});
  const at::Tensor y = network.forward(3 * batch(4, 2), Pass::kTraining, 0, false);
  EXPECT_NE(network.model(), after) << "watched before quantization begins";
  Network in_float(float_model(), true, 1);
  EXPECT_TRUE(at::equal(y, in_float.forward(3 * batch(4, 2), Pass::kTraining, 0, false)));
}

// What a tracker of that rule says of the same values.
affine::Range range_of(const graph::Layer& layer, std::string_view point, const at::Tensor& x) {
  affine::RangeTracker tracker(graph::tracker_config(graph::quantized_point(layer, point)->quantizer));
  const std::span<const float> values(x.data_ptr<float>(), static_cast<size_t>(x.numel()));
  tracker.observe(values, affine::per_tensor({x.numel()}));
  return tracker.ranges()[0];
}

TEST(AffineNetwork, RangesOfLeastErrorAreThoseOfTheBatch) {
  Network network(everything(AffineKind::kLastValue, AffineKind::kMovingAverage, "relu", affine::RangeRule::kMse), true,
                  1);
  const at::Tensor x = batch(64, 1);
  loss_of(network, x);
  const Model after = network.model();
  graph::require_calibrated(after, "test");
  EXPECT_EQ(graph::stored_ranges(after.layer("in"), "output")[0], range_of(after.layer("in"), "output", x));
  const auto kernel = weight(after, "conv", "kernel"), found = weight(after, "conv", "kernel_max");
  for (int64_t c = 0; c < 4; ++c) {
    const at::Tensor filter = kernel.select(3, c).contiguous();
    EXPECT_EQ(found[c].item<float>(), range_of(after.layer("conv"), "kernel", filter).max);
  }
  const auto largest = kernel.abs().amax(at::IntArrayRef{0, 1, 2});
  EXPECT_TRUE((found <= largest).all().item<bool>());
  EXPECT_TRUE((found < largest).any().item<bool>()) << "some filter is cut";

  // Weights that stand in for the trained ones are measured by the same rule.
  {
    const at::NoGradGuard no_gradient;
    at::Tensor value = parameter(network, "conv", "kernel").value;
    value.mul_(2);
  }
  network.forward(x, Pass::kReestimation, 0, false);
  EXPECT_TRUE(at::equal(weight(network.model(), "conv", "kernel_max"), 2 * found));
}

TEST(AffineNetwork, FrozenLayersFindTheirRangesOnceAndKeepThem) {
  for (const auto& [weights, activations] : {std::pair(AffineKind::kLastValue, AffineKind::kMovingAverage),
                                             {AffineKind::kAllValues, AffineKind::kPact},
                                             {AffineKind::kLsq, AffineKind::kLsqPlus}}) {
    Model model = everything(weights, activations);
    model.layer("conv").trainable = false;
    Network network(model, true, 1);
    loss_of(network, batch(4, 1));
    const Model found = network.model();
    graph::require_calibrated(found, "test");
    EXPECT_TRUE(at::equal(weight(found, "conv", "kernel"), weight(model, "conv", "kernel")));
    loss_of(network, 3 * batch(4, 2));
    EXPECT_EQ(network.model().layer("conv"), found.layer("conv"));
  }
}

// An average that would go on from [-6, 6] never comes to where the values are.
TEST(AffineNetwork, AFrozenAverageIsTheFirstBatchs) {
  std::vector<float> found;
  for (const auto start : {affine::AverageStart::kInitialRange, affine::AverageStart::kFirstBatch}) {
    Model model = float_model();
    graph::set_quantization(
        model, "conv",
        LayerQuantization{.post_activation = {.kind = AffineKind::kMovingAverage, .average_start = start}});
    model.layer("conv").trainable = false;
    Network network(model, true, 1);
    loss_of(network, batch(4, 1));
    found.push_back(weight(network.model(), "conv", "post_activation_max").item<float>());
    EXPECT_EQ(weight(network.model(), "conv", "post_activation_min").item<float>(), 0.0f) << "behind a ReLU";
  }
  EXPECT_EQ(found[0], found[1]);
}

// Where other ranges have moved the model was calibrated, and this one is the values' own. That the first batch moves
// those before it says nothing.
TEST(AffineNetwork, AFrozenRangeAtItsStartStaysWhereOthersHadMoved) {
  for (const bool others_had_moved : {false, true}) {
    Model model = float_model();
    graph::set_quantization(model, "in", LayerQuantization{.output = {.kind = AffineKind::kMovingAverage}});
    graph::set_quantization(model, "conv", LayerQuantization{.post_activation = {.kind = AffineKind::kMovingAverage}});
    if (others_had_moved) graph::store_ranges(model.layer("in"), "output", std::vector<affine::Range>{{-3.0f, 3.0f}});
    model.layer("conv").trainable = false;
    Network network(model, true, 1);
    for (uint32_t step : {1u, 2u}) {
      loss_of(network, batch(4, step));
      EXPECT_EQ(weight(network.model(), "conv", "post_activation_max").item<float>() == 6.0f, others_had_moved);
      EXPECT_NE(weight(network.model(), "in", "output_max").item<float>(), 6.0f);
    }
  }
}

TEST(AffineNetwork, MovingAverageBeginsWithTheFirstBatch) {
  Model model = float_model();
  graph::set_quantization(model, "in",
                          LayerQuantization{.output = {.kind = AffineKind::kMovingAverage,
                                                       .ema_decay = 0.75,
                                                       .average_start = affine::AverageStart::kFirstBatch}});
  Network network(model, true, 1);
  const float first = batch(4, 1).max().item<float>(), second = batch(4, 2).max().item<float>();
  loss_of(network, batch(4, 1));
  EXPECT_EQ(weight(network.model(), "in", "output_max").item<float>(), first);
  loss_of(network, batch(4, 2));
  EXPECT_EQ(weight(network.model(), "in", "output_max").item<float>(), first - (first - second) * 0.25f);
}

TEST(AffineNetwork, LearnedParametersAreFoundOnTheFirstBatch) {
  Network network(everything(AffineKind::kLsq, AffineKind::kLsqPlus), true, 1);
  EXPECT_THROW(network.forward(batch(4, 1), Pass::kInference, 0, false), InvalidArgument);
  network.set_calibrating(true);
  network.forward(batch(4, 1), Pass::kInference, 0, false);
  network.set_calibrating(false);
  const Model found = network.model();
  graph::require_calibrated(found, "test");
  const auto kernel = weight(found, "conv", "kernel");
  for (int64_t c = 0; c < 4; ++c) {
    const at::Tensor filter = kernel.select(3, c);
    const auto error = [&](float step) {
      return ((filter / step).clamp(-7, 7).round() * step - filter).square().sum().item<float>();
    };
    const float step = weight(found, "conv", "kernel_step").data_ptr<float>()[c];
    EXPECT_LE(error(step), 1.1f * error(filter.abs().max().item<float>() / 7)) << "than with the whole range";
    EXPECT_LE(error(step), 1.1f * error(2 * filter.abs().mean().item<float>() / std::sqrt(7.0f))) << "than the paper's";
  }
  EXPECT_EQ(weight(found, "conv", "post_activation_offset").item<float>(), 0.0f) << "nothing below a ReLU's 0";
  EXPECT_TRUE(parameter(network, "conv", "kernel_step").trainable);
  EXPECT_FALSE(parameter(network, "in", "output_max").trainable);
}

TEST(AffineNetwork, BiasLiesOnTheGridOfItsAccumulators) {
  Model model = everything(AffineKind::kLastValue, AffineKind::kMovingAverage);
  for (float& b : model.layer("dense").find_weight("bias")->value.data()) b = 0.123456f;
  Network network(model, true, 1);
  loss_of(network, batch(4, 1));
  model = network.model();
  const auto input = graph::point_params(model.layer("depthwise"), "post_activation");  // through pool and Flatten
  const auto kernel = graph::point_params(model.layer("dense"), "kernel");
  // The same network with the bias rounded by hand and left alone computes the same.
  Model by_hand = model;
  for (size_t c = 0; c < 3; ++c) {
    const double step = static_cast<double>(input[0].scale) * static_cast<double>(kernel[c].scale);
    by_hand.layer("dense").find_weight("bias")->value.data()[c] =
        static_cast<float>(std::round(static_cast<double>(0.123456f) / step) * step);
  }
  by_hand.layer("dense").quantization->bias_bits = 0;
  Network other(by_hand, true, 1);
  const at::Tensor x = batch(8, 2);
  EXPECT_TRUE(at::equal(network.forward(x, Pass::kInference, 0, false), other.forward(x, Pass::kInference, 0, false)));
  EXPECT_NE(by_hand.layer("dense").find_weight("bias")->value, model.layer("dense").find_weight("bias")->value);
}

// What the inference phase sums as codes is what the training phase sums as real numbers.
TEST(AffineNetwork, SumsOfCodesAreTheSumsOfReals) {
  for (const auto& [weights, activations] : {std::pair(AffineKind::kLastValue, AffineKind::kMovingAverage),
                                             {AffineKind::kLsq, AffineKind::kLsq},
                                             {AffineKind::kLsqPlus, AffineKind::kLsqPlus},
                                             {AffineKind::kDorefa, AffineKind::kDorefa},
                                             {AffineKind::kLastValue, AffineKind::kPact}}) {
    // Swish gives values below 0, and LSQ+ an offset.
    Network network(everything(weights, activations, "swish"), true, 1);
    const at::Tensor x = batch(16, 1);
    loss_of(network, x);
    network.set_quantization_phase({.ranges_move = false});
    const at::NoGradGuard no_gradient;
    const at::Tensor trained = network.forward(x, Pass::kTraining, 0, false);
    const at::Tensor deployed = network.forward(x, Pass::kInference, 0, false);
    const at::Tensor differ = (trained - deployed).abs() > 1e-4f * trained.abs().max();
    EXPECT_LE(differ.sum().item<int64_t>(), 2) << "a tie or two may fall to the other side";
  }
}

TEST(AffineNetwork, OverwrittenKernelsOfConvolutionsAreTheirQuantizedValues) {
  Model model = float_model();
  graph::set_quantization(model, "conv", kernel_only(AffineKind::kLastValue, true));
  graph::set_quantization(model, "dense", kernel_only(AffineKind::kLastValue, true));
  const Tensor before = model.layer("conv").find_weight("kernel")->value;
  const Tensor dense = model.layer("dense").find_weight("kernel")->value;
  Network network(model, true, 1);
  network.set_quantization_phase({.overwrites_convolutions = true});
  const at::Tensor x = batch(4, 1);
  loss_of(network, x).backward();
  const Tensor once = network.model().layer("conv").find_weight("kernel")->value;
  EXPECT_NE(once, before);
  EXPECT_EQ(network.model().layer("dense").find_weight("kernel")->value, dense) << "a dense layer's stays";
  const at::Tensor gradient = parameter(network, "conv", "kernel").value.grad();
  EXPECT_GT(gradient.abs().sum().item<float>(), 0.0f);
  network.set_quantization_phase({.ranges_move = false, .overwrites_convolutions = true});
  loss_of(network, x);
  EXPECT_EQ(network.model().layer("conv").find_weight("kernel")->value, once) << "they are codes already";
  network.set_quantization_phase({});
}

TEST(AffineNetwork, DataThatIsNoNumberIsRefused) {
  Network network(everything(AffineKind::kLastValue, AffineKind::kMovingAverage), true, 1);
  at::Tensor x = batch(4, 1);
  x.data_ptr<float>()[17] = std::numeric_limits<float>::quiet_NaN();
  try {
    loss_of(network, x);
    FAIL() << "was taken";
  } catch (const affine::NonFiniteValue& error) {
    EXPECT_NE(std::string(error.what()).find("layer 'in' (InputLayer), 'output'"), std::string::npos) << error.what();
  }
}

TEST(AffineNetwork, OwnActivationsOfGeneralLayersAreQuantizedToo) {
  const Node in = Input({.shape = {6, 2}, .name = "in"});
  const Node x =
      layer("Conv1D", "conv", {{"filters", int64_t{3}}, {"kernel_size", int64_t{2}}, {"activation", "relu"}})(in);
  Model model = build_model({in}, {x}, "m");
  graph::initialize_weights(model, 5);
  model = qat::quantize_model(model, qat::scheme_named("int2"));
  Network network(model, true, 1);
  loss_of(network, batch(4, 1).reshape({-1, 6, 2}));
  const at::Tensor y = network.forward(batch(4, 1).reshape({-1, 6, 2}), Pass::kInference, 0, false);
  const auto params = graph::point_params(network.model().layer("conv"), "post_activation");
  const at::Tensor codes = y / params[0].scale;
  EXPECT_LT((codes - codes.round()).abs().max().item<float>(), 1e-3f);
  EXPECT_EQ(params[0].bit_width, 8) << "it is the result";
}

}  // namespace
}  // namespace nibble::train
