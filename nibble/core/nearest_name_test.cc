#include "nibble/core/nearest_name.h"

#include <gtest/gtest.h>

namespace nibble {
namespace {

const std::vector<std::string> kNames = {"Conv2D", "QConv2D", "Dense", "binary", "quantized_bits", "quantized_relu"};

struct Row {
  std::string name;
  std::vector<std::string> expected;
};
class Nearest : public testing::TestWithParam<Row> {};
TEST_P(Nearest, BestFirst) { EXPECT_EQ(nearest_names(GetParam().name, kNames), GetParam().expected); }
INSTANTIATE_TEST_SUITE_P(Rows, Nearest,
                         testing::Values(Row{"conv2d", {"Conv2D", "QConv2D"}}, Row{"Desne", {"Dense"}},
                                         Row{"biray", {"binary"}},
                                         Row{"quantized_bit", {"quantized_bits", "quantized_relu"}},
                                         Row{"quantized", {"quantized_bits", "quantized_relu"}}, Row{"xyz", {}},
                                         Row{"", {}}));

TEST(Suggest, NamesTheNearestOrAll) {
  EXPECT_EQ(suggest("Dens", kNames), "Did you mean 'Dense'?");
  EXPECT_EQ(suggest("zzz", std::vector<std::string>{"a", "b"}), "Known: a, b.");
}

}  // namespace
}  // namespace nibble
