// What TFMOT's configurations quantize: a row is a configuration, a layer and its points.
#include "nibble/formats/keras/tfmot_quantization.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace nibble::formats::keras {
namespace {

using nlohmann::json;

std::string text_of(const graph::LayerQuantization& quantization) {
  std::string text;
  for (const auto& point : graph::quantized_points(quantization)) {
    text += point.name + " " + to_string(point.quantizer) + "; ";
  }
  return text;
}

struct Meaning {
  const char* name;
  const char* config;
  const char* layer;
  const char* function;
  const char* points;
};
class Configurations : public ::testing::TestWithParam<Meaning> {};
TEST_P(Configurations, QuantizeThese) {
  const Meaning& row = GetParam();
  EXPECT_EQ(text_of(tfmot_quantization(json::parse(row.config), row.layer, row.function, "here")), row.points);
}
constexpr const char* kDense8 =
    R"({"class_name": "Default8BitQuantizeConfig", "config": {"weight_attrs": ["kernel"],
        "activation_attrs": ["activation"], "quantize_output": false}})";
constexpr const char* kActivation8 = R"({"class_name": "Default8BitActivationQuantizeConfig", "config": {}})";
INSTANTIATE_TEST_SUITE_P(
    Rows, Configurations,
    ::testing::Values(
        Meaning{"Relu", kDense8, "Dense", "relu",
                "kernel LastValue(8,symmetric,narrow_range); post_activation MovingAverage(8); "},
        Meaning{"Softmax", kDense8, "Dense", "softmax",
                "kernel LastValue(8,symmetric,narrow_range); pre_activation MovingAverage(8); "},
        Meaning{"Gelu", kDense8, "Dense", "gelu",
                "kernel LastValue(8,symmetric,narrow_range); pre_activation MovingAverage(8); "
                "post_activation MovingAverage(8); "},
        Meaning{"Marker", kDense8, "Dense", "NoOpActivation", "kernel LastValue(8,symmetric,narrow_range); "},
        Meaning{"Conv",
                R"({"class_name": "Default8BitConvQuantizeConfig", "config": {"weight_attrs": ["kernel"],
                    "activation_attrs": ["activation"], "quantize_output": false}})",
                "Conv2D", "linear",
                "kernel LastValue(8,per_axis,symmetric,narrow_range); post_activation MovingAverage(8); "},
        Meaning{"DepthwiseIsPerLastAxis",
                R"({"class_name": "Default8BitConvQuantizeConfig", "config": {"weight_attrs": ["depthwise_kernel"],
                    "activation_attrs": [], "quantize_output": false}})",
                "DepthwiseConv2D", "linear", "depthwise_kernel LastValue(8,per_axis=3,symmetric,narrow_range); "},
        Meaning{"ConvTranspose",
                R"({"class_name": "Default8BitConvTransposeQuantizeConfig", "config": {"weight_attrs": ["kernel"],
                    "activation_attrs": [], "quantize_output": false}})",
                "Conv2DTranspose", "relu", "kernel LastValue(8,symmetric,narrow_range); "},
        Meaning{"OutputOfALayer",
                R"({"class_name": "Default8BitQuantizeConfig", "config": {"weight_attrs": [], "activation_attrs": [],
                    "quantize_output": true}})",
                "Add", "linear", "output MovingAverage(8); "},
        Meaning{"ActivationLayer", kActivation8, "Activation", "relu6", "output MovingAverage(8); "},
        Meaning{"ActivationLayerWithout", kActivation8, "Activation", "sigmoid", ""},
        Meaning{"ActivationLayerSinceVersion072",
                R"({"class_name": "Default8BitActivationQuantizeConfig", "config": {"quantize_output": true}})",
                "Activation", "relu", "output MovingAverage(8); "},
        Meaning{"ActivationLayerBeforeConcatenate",
                R"({"class_name": "Default8BitActivationQuantizeConfig", "config": {"quantize_output": false}})",
                "Activation", "relu", ""},
        Meaning{"ActivationLayerOffOfAnyFunction",
                R"({"class_name": "Default8BitActivationQuantizeConfig", "config": {"quantize_output": false}})",
                "Activation", "elu", ""},
        Meaning{"Output", R"({"class_name": "Default8BitOutputQuantizeConfig", "config": {}})", "BatchNormalization",
                "linear", "output MovingAverage(8); "},
        Meaning{"OutputOff",
                R"({"class_name": "Default8BitOutputQuantizeConfig", "config": {"quantize_output": false}})",
                "BatchNormalization", "linear", ""},
        Meaning{"NoOp", R"({"class_name": "NoOpQuantizeConfig", "config": {}})", "Dense", "relu", ""},
        Meaning{"FourBits",
                R"({"class_name": "DefaultNBitConvQuantizeConfig", "config": {"weight_attrs": ["kernel"],
                    "activation_attrs": ["activation"], "quantize_output": false, "num_bits_weight": 4,
                    "num_bits_activation": 6}})",
                "Conv2D", "relu",
                "kernel LastValue(4,per_axis,symmetric,narrow_range); post_activation MovingAverage(6); "},
        Meaning{"FourBitActivation",
                R"({"class_name": "DefaultNBitActivationQuantizeConfig", "config": {"num_bits_weight": 4,
                    "num_bits_activation": 5}})",
                "Activation", "relu", "output MovingAverage(5); "},
        Meaning{"FourBitOutput",
                R"({"class_name": "DefaultNBitOutputQuantizeConfig", "config": {"num_bits_activation": 5}})",
                "BatchNormalization", "linear", "output MovingAverage(5); "},
        Meaning{"OutputOnly",
                R"({"class_name": "OutputOnlyConfig", "config": {"quantize_config":
                    {"class_name": "Default8BitQuantizeConfig", "config": {"weight_attrs": ["kernel"],
                     "activation_attrs": ["activation"], "quantize_output": false}}}})",
                "Dense", "relu", "post_activation MovingAverage(8); "},
        Meaning{"Fixed",
                R"({"class_name": "FixedQuantizeConfig", "config": {"num_bits": 8, "init_min": 0.0, "init_max": 1.0,
                    "narrow_range": false, "config":
                    {"class_name": "Default8BitOutputQuantizeConfig", "config": {}}}})",
                "Softmax", "linear", "output Fixed(8,[0, 1]); "}),
    [](const auto& row) { return row.param.name; });

TEST(TfmotInput, AllValuesIsPerTensorWhateverItsFlagSays) {
  const json quantizer = json::parse(R"({"class_name": "tfmot>AllValuesQuantizer", "config":
    {"num_bits": 8, "per_axis": true, "symmetric": false, "narrow_range": false}})");
  EXPECT_EQ(to_string(tfmot_input_quantizer(quantizer, "here")), "AllValues(8)");
  EXPECT_TRUE(tfmot_input_quantizer(nullptr, "here").is_none());
  // What remove_input_range() puts there.
  EXPECT_TRUE(tfmot_input_quantizer({{"class_name", "NoQuantizer"}, {"config", json::object()}}, "here").is_none());
}

TEST(TfmotActivation, IsThePlainFunction) {
  const std::pair<const char*, const char*> rows[] = {
      {R"("relu")", "relu"},
      {R"(null)", "linear"},
      {R"({"class_name": "function", "config": "tanh"})", "tanh"},
      {R"({"class_name": "QuantizeAwareActivation", "config": {"activation": "relu"}})", "relu"},
      {R"({"class_name": "tfmot>QuantizeAwareActivation", "config": {"activation":
           {"class_name": "function", "config": "swish"}}})",
       "swish"},
      {R"({"class_name": "NoOpActivation", "config": {}})", "NoOpActivation"},
      {R"({"class_name": "QuantizeAwareActivation", "config": {"activation":
           {"class_name": "NoOpActivation", "config": {}}}})",
       "NoOpActivation"}};
  for (const auto& [text, function] : rows) {
    json config = {{"activation", json::parse(text)}};
    EXPECT_EQ(make_activation_plain(config), function) << text;
    EXPECT_EQ(config.dump().find("QuantizeAware"), std::string::npos) << text;
    EXPECT_EQ(config.dump().find("NoOp"), std::string::npos) << text;
  }
  json none = json::object();
  EXPECT_EQ(make_activation_plain(none), "linear");
  EXPECT_TRUE(none.empty());
}

}  // namespace
}  // namespace nibble::formats::keras
