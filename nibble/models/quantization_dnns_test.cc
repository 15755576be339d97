#include "nibble/models/quantization_dnns.h"

#include <gtest/gtest.h>

#include "nibble/models/builtin.h"

namespace nibble::models {
namespace {

struct Row {
  const char* name;
  int64_t parameters;  // spec/ptq-qat-experiments.md, 1.1; trainable ones
  Shape flat;
};

class QuantizationDnns : public ::testing::TestWithParam<Row> {};

TEST_P(QuantizationDnns, HaveTheParametersOfTheSpec) {
  const graph::Model model = make_builtin(GetParam().name);
  int64_t trainable = 0;
  for (const graph::LayerSummary& layer : graph::summarize(model)) trainable += layer.trainable_parameters;
  EXPECT_EQ(trainable, GetParam().parameters);
  const auto shapes = graph::infer_shapes(model);
  EXPECT_EQ(shapes.at("flatten"), GetParam().flat);
  EXPECT_EQ(shapes.at(model.outputs.at(0)), (Shape{10}));
  EXPECT_EQ(model.name, GetParam().name);
}

INSTANTIATE_TEST_SUITE_P(Rows, QuantizationDnns,
                         ::testing::Values(Row{"fashion_mnist_cnn", 24850, {1000}},
                                           Row{"fashion_mnist_cnn_bn", 24850 + 160, {1000}},
                                           Row{"cifar10_cnn", 121182, {800}},
                                           Row{"cifar10_cnn_bn", 121182 + 96, {800}}),
                         [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace nibble::models
