// Every layer class has a function in the builder, whose options' defaults are those of the class.
#include <gtest/gtest.h>

#include <set>

#include "nibble/core/error.h"
#include "nibble/graph/builder_activation.h"
#include "nibble/graph/builder_convolution.h"
#include "nibble/graph/builder_recurrent.h"
#include "nibble/graph/builder_shape.h"
#include "nibble/graph/layers_recurrent.h"

namespace nibble::graph::build {
namespace {

struct Row {
  LayerCall call;       // only what has no default
  Attributes required;  // the same as attributes
};

const std::vector<int64_t> k3 = {3}, k33 = {3, 3};

std::vector<Row> convolutions() {
  const Attributes plain = {{"filters", int64_t{2}}, {"kernel_size", k33}};
  const Attributes sequence = {{"filters", int64_t{2}}, {"kernel_size", k3}};
  const Attributes depthwise = {{"kernel_size", k33}};
  const Attributes units = {{"units", int64_t{2}}};
  return {
      {Conv1D({.filters = 2, .kernel_size = 3}), sequence},
      {QConv1D({.filters = 2, .kernel_size = 3}), sequence},
      {Conv2D({.filters = 2, .kernel_size = {3, 3}}), plain},
      {QConv2D({.filters = 2, .kernel_size = {3, 3}}), plain},
      {SeparableConv1D({.filters = 2, .kernel_size = 3}), sequence},
      {QSeparableConv1D({.filters = 2, .kernel_size = 3}), sequence},
      {SeparableConv2D({.filters = 2, .kernel_size = {3, 3}}), plain},
      {QSeparableConv2D({.filters = 2, .kernel_size = {3, 3}}), plain},
      {Conv2DTranspose({.filters = 2, .kernel_size = {3, 3}}), plain},
      {QConv2DTranspose({.filters = 2, .kernel_size = {3, 3}}), plain},
      {QDepthwiseConv2DTranspose({.filters = 2, .kernel_size = {3, 3}}), plain},
      {QSeparableConv2DTranspose({.filters = 2, .kernel_size = {3, 3}}), plain},
      {QConv2DBatchnorm({.filters = 2, .kernel_size = {3, 3}}), plain},
      {DepthwiseConv2D({.kernel_size = {3, 3}}), depthwise},
      {QDepthwiseConv2D({.kernel_size = {3, 3}}), depthwise},
      {QDepthwiseConv2DBatchnorm({.kernel_size = {3, 3}}), depthwise},
      {Dense({.units = 2}), units},
      {QDense({.units = 2}), units},
      {QDenseBatchnorm({.units = 2}), units},
      {QScaleShift({}), {}},
      {BatchNormalization(), {}},
      {QBatchNormalization(), {}},
  };
}

std::vector<Row> recurrent() {
  const Attributes units = {{"units", int64_t{2}}};
  return {
      {SimpleRNN({.units = 2}), units},
      {QSimpleRNN({.units = 2}), units},
      {LSTM({.units = 2}), units},
      {QLSTM({.units = 2}), units},
      {GRU({.units = 2}), units},
      {QGRU({.units = 2}), units},
      {RNN({.cell = LSTM({.units = 2})}), {{"cell", as_cell(make_layer("LSTM", "lstm", units))}}},
      {Bidirectional({.layer = GRU({.units = 2})}), {{"layer", as_inner_layer(make_layer("GRU", "gru", units))}}},
      {QBidirectional({.layer = QGRU({.units = 2})}), {{"layer", as_inner_layer(make_layer("QGRU", "qgru", units))}}},
      {Embedding({.input_dim = 5, .output_dim = 2}), {{"input_dim", int64_t{5}}, {"output_dim", int64_t{2}}}},
  };
}

std::vector<Row> others() {
  const Attributes rate = {{"rate", 0.25}};
  const Attribute relu = std::string("relu");
  return {
      {Activation({.activation = "relu"}), {{"activation", relu}}},
      {QActivation({.activation = "relu"}), {{"activation", relu}}},
      {QAdaptiveActivation({.activation = "quantized_relu", .total_bits = 6}),
       {{"activation", std::string("quantized_relu")}, {"total_bits", int64_t{6}}}},
      {ReLU(), {}},
      {LeakyReLU({}), {}},
      {ELU({}), {}},
      {PReLU({}), {}},
      {Softmax({}), {}},
      {MaxPooling1D(), {}},
      {MaxPooling2D(), {}},
      {AveragePooling1D(), {}},
      {AveragePooling2D(), {}},
      {QAveragePooling2D({}), {}},
      {GlobalAveragePooling1D(), {}},
      {GlobalAveragePooling2D(), {}},
      {GlobalMaxPooling1D(), {}},
      {GlobalMaxPooling2D(), {}},
      {QGlobalAveragePooling2D({}), {}},
      {Flatten(), {}},
      {Reshape({.target_shape = {3, 3}}), {{"target_shape", k33}}},
      {Permute({.dims = {2, 1}}), {{"dims", std::vector<int64_t>{2, 1}}}},
      {ZeroPadding1D({}), {}},
      {Cropping1D({}), {}},
      {UpSampling1D({}), {}},
      {ZeroPadding2D({}), {}},
      {Cropping2D({}), {}},
      {UpSampling2D({}), {}},
      {Add(), {}},
      {Subtract(), {}},
      {Multiply(), {}},
      {Average(), {}},
      {Maximum(), {}},
      {Minimum(), {}},
      {Concatenate(), {}},
      {Dot({.axes = {1}}), {{"axes", std::vector<int64_t>{1}}}},
      {Dropout({.rate = 0.25}), rate},
      {SpatialDropout1D({.rate = 0.25}), rate},
      {SpatialDropout2D({.rate = 0.25}), rate},
      {GaussianDropout({.rate = 0.25}), rate},
      {AlphaDropout({.rate = 0.25}), rate},
      {GaussianNoise({.stddev = 0.25}), {{"stddev", 0.25}}},
  };
}

TEST(BuilderLayers, DefaultsAreTheClasses) {
  std::set<std::string> seen = {"InputLayer"};  // Input()
  for (const auto& family : {convolutions(), recurrent(), others()}) {
    for (const Row& row : family) {
      const Layer& built = row.call.layer();
      EXPECT_EQ(built, make_layer(built.class_name, "", row.required)) << built.class_name;
      seen.insert(built.class_name);
    }
  }
  const std::vector<std::string> known = known_layers();
  EXPECT_EQ(seen, std::set<std::string>(known.begin(), known.end()));
}

TEST(BuilderLayers, OptionsArriveUnderTheirNames) {
  const Layer folded = QConv2DBatchnorm({.filters = 2,
                                         .kernel_size = {3, 3},
                                         .kernel_quantizer = "quantized_bits(4,0,1)",
                                         .momentum = 0.5,
                                         .ema_freeze_delay = 7,
                                         .folding_mode = "batch_stats_folding"})
                           .layer();
  EXPECT_EQ(*folded.get_quantizer("kernel_quantizer"), *quant::get_quantizer("quantized_bits(4,0,1)"));
  EXPECT_EQ(folded.get_float("momentum"), 0.5);
  EXPECT_EQ(folded.get_int("ema_freeze_delay"), 7);
  EXPECT_EQ(folded.get_string("folding_mode"), "batch_stats_folding");
  const Layer pool = MaxPooling1D({.pool_size = 3, .strides = 2}).layer();
  EXPECT_EQ(pool.get_ints("strides"), std::vector<int64_t>{2});
  EXPECT_EQ(QConv2DTranspose({.filters = 1, .kernel_size = {2, 2}, .output_padding = {1, 0}})
                .layer()
                .get_ints("output_padding"),
            (std::vector<int64_t>{1, 0}));
}

TEST(BuilderLayers, MoreAttributesByName) {
  const Layer dense =
      Dense({.units = 2, .more = {{"kernel_regularizer", "l2"}, {"bias_constraint", "non_neg"}}}).layer();
  EXPECT_EQ(std::get<OpaqueJson>(dense.attributes.at("kernel_regularizer")).text, "\"l2\"");
  EXPECT_THROW(Dense({.units = 2, .more = {{"kernel_regulariser", "l2"}}}), InvalidArgument);
  const Layer masked = QConv2D({.filters = 1, .kernel_size = {1, 2}, .mask = {{1, 0}}}).layer();
  EXPECT_EQ(std::get<OpaqueJson>(masked.attributes.at("mask")).text, "[[1.0,0.0]]");
}

TEST(BuilderLayers, WhatIsMissingIsRefused) {
  EXPECT_THROW(Conv1D({.kernel_size = 3}), InvalidArgument);
  EXPECT_THROW(RNN({}), InvalidArgument);
  EXPECT_THROW(Bidirectional({}), InvalidArgument);
  EXPECT_THROW(Bidirectional({.layer = Dense({.units = 2})}), InvalidArgument);
}

}  // namespace
}  // namespace nibble::graph::build
