#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/quant/quantized_bits.h"
#include "nibble/quant/quantizer.h"

namespace nibble::quant {
namespace {

using ::testing::HasSubstr;

struct Row {
  std::string text;
  std::string says;
};
class Refused : public ::testing::TestWithParam<Row> {};
TEST_P(Refused, SaysWhatIsWrong) {
  try {
    get_quantizer(GetParam().text);
    ADD_FAILURE() << GetParam().text << " was accepted";
  } catch (const InvalidArgument& error) {
    EXPECT_THAT(error.what(), HasSubstr(GetParam().says));
  }
}
INSTANTIATE_TEST_SUITE_P(
    Rows, Refused,
    ::testing::Values(
        Row{"quantized_bit(4)", "Did you mean 'quantized_bits'"}, Row{"None", "there is no quantizer 'None'"},
        Row{"relu", "is an activation function"}, Row{"np", "there is no quantizer"},
        Row{"quantized_bits(4)(5)", "column 18"}, Row{"quantized_bits(foo=3)", "no parameter 'foo'"},
        Row{"quantized_bits(4,bit=3)", "Did you mean 'bits'"}, Row{"quantized_bits(4,bits=3)", "given twice"},
        Row{"quantized_bits(1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16)", "only 15 parameters"},
        Row{"quantized_bits(bits=2.5)", "bits is 2.5; it must be an integer"},
        Row{"quantized_bits('4')", "bits is '4'"}, Row{"quantized_bits(100)", "between 1 and 64"},
        Row{"quantized_bits(4,alpha='foo')", "'auto' or 'auto_po2'"},
        Row{"quantized_bits(4,alpha='auto',elements_per_scale=2)", "need alpha='auto_po2'"},
        Row{"quantized_bits(4,alpha='auto_po2',elements_per_scale=2)", "needs scale_axis"},
        Row{"quantized_bits(4,post_training_scale=[1])", "post_training_scale needs alpha"},
        Row{"quantized_bits(4,alpha=1.0,alpha_shape=[2])", "needs alpha to be a list"},
        Row{"quantized_bits(4,alpha=nan)", "alpha is nan"}, Row{"binary(alpha=[])", "empty list"},
        Row{"quantized_relu(4,2,0,0.3)", "power of two"}, Row{"quantized_po2(4,0)", "above 0"},
        Row{"quantized_po2(4,log2_rounding='ceil')", "'rnd' or 'floor'"},
        Row{"ternary(alpha='auto',threshold=0.3)", "Leave the threshold out"},
        Row{"ternary(alpha='auto',number_of_unrolls=0)", "between 1 and"},
        Row{"stochastic_ternary(threshold=1.0)", "threshold is 1"},
        Row{"quantized_hswish(relu_shift=0)", "both must be above 0"},
        Row{"quantized_hswish(0)", "[quantized_hswish] bits is 0"},
        Row{"quantized_bits(4,alpha='auto',scale_axis=[])", "scale_axis is an empty list"},
        Row{"binary(alpha='auto',scale_axis=[])", "scale_axis is an empty list"},
        Row{"quantized_linear(4,scale_axis=[])", "scale_axis is an empty list"},
        Row{"quantized_linear(4,alpha=0.0)", "no scale may be 0"},
        Row{"quantized_linear(4,alpha=[1.0,0.0])", "no scale may be 0"},
        Row{"quantized_bits(4,qnoise_factor=2)", "qnoise_factor is 2"},
        Row{"quantized_relu(4,qnoise_factor=-0.5)", "qnoise_factor is -0.5"},
        Row{"quantized_po2(4,qnoise_factor=nan)", "qnoise_factor is nan"},
        Row{"quantized_relu(4,relu_upper_bound=-1)", "relu_upper_bound is -1"},
        Row{"bernoulli(temperature=0)", "temperature is 0"},
        Row{"stochastic_binary(temperature=-3)", "temperature is -3"},
        Row{"stochastic_ternary(temperature=0)", "temperature is 0"}, Row{"ternary(threshold=-1)", "threshold is -1"}));

TEST(FromConfig, TakesNumbersListsAndArrays) {
  const auto config = nlohmann::json::parse(
      R"({"bits": 4, "alpha": {"shape": [1, 2], "data": [0.5, 2]}, "scale_axis": [0, 1], "keep_negative": true})");
  const auto quantizer = quantizer_from_config("quantized_bits", config);
  const auto& params = dynamic_cast<const QuantizedBits&>(*quantizer).params();
  EXPECT_EQ(params.alpha, Alpha(Tensor(Shape{1, 2}, {0.5f, 2.0f})));
  EXPECT_EQ(params.scale_axis, IntegerOrList({0, 1}));
  const auto nested = nlohmann::json::parse(R"({"alpha": [[0.5, 2]]})");
  EXPECT_EQ(dynamic_cast<const QuantizedBits&>(*quantizer_from_config("quantized_bits", nested)).params().alpha,
            params.alpha);
}

TEST(FromConfig, RefusesWhatItDoesNotKnow) {
  for (const char* text :
       {R"({"bitz": 4})", R"({"bits": "four"})", R"({"alpha": [[1], [1, 2]]})", R"({"alpha": {"a": 1}})", R"([4])",
        R"({"alpha": [[[[[[[[[[1]]]]]]]]]]})", R"({"scale_axis": ["a"]})", R"({"alpha": {"shape": [-1], "data": [1]}})",
        R"({"alpha": {"shape": [3], "data": [1]}})"}) {
    EXPECT_THROW(quantizer_from_config("quantized_bits", nlohmann::json::parse(text)), InvalidArgument) << text;
  }
  EXPECT_THROW(quantizer_from_config("quantised_bits", nlohmann::json::object()), InvalidArgument);
}

TEST(FromConfig, KeysThatTheReferenceWritesWithoutEffectAreTaken) {
  const auto config = nlohmann::json::parse(R"({"bits": 6, "keep_negative": true, "post_training_scale": null})");
  EXPECT_EQ(quantizer_from_config("quantized_hswish", config)->bit_width(), 6);
}

TEST(Equality, ComparesClassAndParametersNotSpelling) {
  EXPECT_TRUE(*get_quantizer("binary(alpha=1)") == *get_quantizer("binary(alpha=1.0)"));
  EXPECT_FALSE(*get_quantizer("binary(alpha=1)") == *get_quantizer("binary"));
  EXPECT_FALSE(*get_quantizer("ternary") == *get_quantizer("binary"));
}

TEST(RegisterQuantizer, MakesAUsersOwnAvailableByName) {
  register_quantizer("four_bits", [](const CallExpression& call) -> QuantizerPtr {
    QuantizedBitsParams params;
    params.bits = 4;
    if (!call.keyword.empty()) params.integer = static_cast<int>(std::get<int64_t>(call.keyword[0].second));
    return std::make_shared<QuantizedBits>(params);
  });
  EXPECT_EQ(get_quantizer("four_bits")->bit_width(), 4);
  EXPECT_EQ(quantizer_from_config("four_bits", {{"integer", 2}})->str(), "quantized_bits(4,2,0)");
  EXPECT_THAT(known_quantizers(), ::testing::Contains("four_bits"));
}

TEST(ActivationFunctions, AreKnownByName) {
  for (const char* name : {"relu", "tanh", "softmax", "hard_sigmoid", "smooth_tanh"})
    EXPECT_TRUE(is_activation_function(name));
  for (const char* name : {"binary", "quantized_relu", "np", ""}) EXPECT_FALSE(is_activation_function(name));
}

}  // namespace
}  // namespace nibble::quant
