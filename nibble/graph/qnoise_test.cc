#include "nibble/graph/qnoise.h"

#include <gtest/gtest.h>

#include "nibble/graph/layers_recurrent.h"

namespace nibble::graph {
namespace {

using quant::get_quantizer;

struct QNoiseCase {
  const char* before;
  QNoise noise;
  const char* after;
};

TEST(QNoise, QuantizersThatMixTakeTheFactor) {
  const QNoiseCase cases[] = {
      {"quantized_bits(4,0,1,alpha=1.0)", {0.25, true}, "quantized_bits(4,0,1,alpha=1.0,qnoise_factor=0.25)"},
      {"quantized_bits(4,0,1,alpha='auto')",
       {0.5, false},
       "quantized_bits(4,0,1,alpha='auto',qnoise_factor=0.5,use_ste=False)"},
      {"quantized_relu(4,2)", {0.0, true}, "quantized_relu(4,2,qnoise_factor=0)"},
      {"quantized_po2(4)", {0.75, true}, "quantized_po2(4,qnoise_factor=0.75)"},
      {"quantized_relu_po2(4,2)", {0.75, false}, "quantized_relu_po2(4,2,qnoise_factor=0.75,use_ste=False)"},
      {"quantized_linear(4,0)", {0.5, false}, "quantized_linear(4,0,qnoise_factor=0.5)"},
      {"quantized_hswish(6,2)", {0.5, true}, "quantized_hswish(6,2,qnoise_factor=0.5)"},
      {"binary(alpha=1.0)", {0.5, true}, "binary(alpha=1.0)"},
      {"ternary", {0.5, true}, "ternary"},
  };
  for (const QNoiseCase& c : cases) {
    const auto found = with_qnoise(get_quantizer(c.before), c.noise);
    EXPECT_EQ(*found, *get_quantizer(c.after)) << c.before << ": " << found->str();
  }
  EXPECT_EQ(with_qnoise(quant::QuantizerPtr(), {0.5, true}), nullptr);
}

TEST(QNoise, LayersInsideABidirectionalToo) {
  const Layer inner = make_layer(
      "QGRU", "inner", {{"units", int64_t{3}}, {"kernel_quantizer", std::string("quantized_bits(4,0,1,alpha=1.0)")}});
  Model model;
  model.layers.push_back(make_layer("InputLayer", "input", {{"shape", std::vector<int64_t>{5, 2}}}));
  model.layers.push_back(make_layer("Bidirectional", "both", {{"layer", as_inner_layer(inner)}}));
  model.layers.back().inputs = {"input"};
  model.inputs = {"input"}, model.outputs = {"both"};
  initialize_weights(model, 1);
  const Model noisy = with_qnoise(model, {0.5, true});
  EXPECT_TRUE(noisy.layer("both").weights.empty());
  EXPECT_EQ(*inner_layer(noisy.layer("both"), "layer").get_quantizer("kernel_quantizer"),
            *get_quantizer("quantized_bits(4,0,1,alpha=1.0,qnoise_factor=0.5)"));
  EXPECT_EQ(infer_shapes(noisy), infer_shapes(model));
}

}  // namespace
}  // namespace nibble::graph
