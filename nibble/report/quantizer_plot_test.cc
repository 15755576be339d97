#include "nibble/report/quantizer_plot.h"

#include <gtest/gtest.h>

namespace nibble::report {
namespace {

TEST(QuantizerPlot, SamplesAreTheQuantizers) {
  const auto samples = sample(*quant::get_quantizer("quantized_relu(4,2)"), {-1.0f, 0.3f, 1.9f, 9.0f});
  EXPECT_EQ(samples[0].value, 0.0f);
  EXPECT_EQ(samples[1].value, 0.25f);
  EXPECT_EQ(samples[3].value, 3.75f);
  EXPECT_EQ(samples[3].gradient, 0.0f);
  EXPECT_EQ(sample(*quant::plain_function("hard_tanh"), {3.0f})[0].value, 1.0f);
}

TEST(QuantizerPlot, EveryQuantizerHasAPicture) {
  for (const std::string& name : quant::known_quantizers()) {
    const std::string svg = plot_svg(name, sample(*quant::get_quantizer(name), evenly(-2, 2, 101)));
    EXPECT_TRUE(svg.starts_with("<svg ")) << name;
    EXPECT_TRUE(svg.ends_with("</svg>\n")) << name;
    EXPECT_EQ(svg.find("nan"), std::string::npos) << name;
  }
}

TEST(QuantizerPlot, TableAndEscapes) {
  EXPECT_EQ(markdown_table({{-1, 0, 0}, {0.3f, 0.25f, 1}}),
            "| x | value | gradient |\n|---|---|---|\n| -1 | 0 | 0 |\n| 0.3 | 0.25 | 1 |\n");
  EXPECT_NE(plot_svg("a<b&c", {{0, 0, 0}, {1, 1, 1}}).find("a&lt;b&amp;c"), std::string::npos);
}

}  // namespace
}  // namespace nibble::report
