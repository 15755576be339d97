#include "nibble/experiment/document.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nibble::experiment {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const LinePlot kPlot{
    .title = "t",
    .x_label = "bits",
    .y_label = "percent",
    .ticks = {"4", "8"},
    .lines = {{.name = "a<b", .y = {1.0, {}}}, {.name = "published", .y = {{}, 2.0}, .is_dashed = true}}};

TEST(Document, MarkdownHasTablesAndEscapesBars) {
  const Document document{.title = "T",
                          .sections = {{.title = "S",
                                        .paragraphs = {"words"},
                                        .tables = {{.headers = {"a", "b"}, .rows = {{"x|y", "1"}}}},
                                        .plots = {kPlot}}}};
  EXPECT_EQ(to_markdown(document), "# T\n\n## S\n\nwords\n\n| a | b |\n|---|---|\n| x\\|y | 1 |\n\n");
}

TEST(Document, HtmlStandsAloneAndEscapes) {
  const Document document{
      .title = "a & b",
      .sections = {{.title = "S", .tables = {{.headers = {"<h>"}, .rows = {{"1"}}}}, .plots = {kPlot}}}};
  const std::string html = to_html(document);
  EXPECT_THAT(html, HasSubstr("<title>a &amp; b</title>"));
  EXPECT_THAT(html, HasSubstr("<th>&lt;h></th>"));
  EXPECT_THAT(html, HasSubstr("<svg"));
  EXPECT_THAT(html, Not(HasSubstr("<h>")));
  EXPECT_THAT(html, Not(HasSubstr("src=")));
}

TEST(Document, PlotsLeaveGapsAndLiveWithoutPoints) {
  const std::string svg = to_svg(kPlot);
  EXPECT_THAT(svg, HasSubstr("a&lt;b: 1.00"));
  EXPECT_THAT(svg, HasSubstr("stroke-dasharray"));
  const LinePlot empty{
      .title = "t", .x_label = "x", .y_label = "y", .ticks = {"1"}, .lines = {{.name = "n", .y = {{}}}}};
  EXPECT_THAT(to_svg(empty), Not(HasSubstr("nan")));
  EXPECT_THAT(to_svg(empty), Not(HasSubstr("inf")));
}

}  // namespace
}  // namespace nibble::experiment
