// nibble/experiment/document.h
// A report as data: sections of text, tables and line plots, written as Markdown or as one HTML page. The plots are in
// the page only.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace nibble::experiment {

struct DocumentTable {
  std::vector<std::string> headers;
  std::vector<std::vector<std::string>> rows;  // as many cells as headers
};

struct PlotLine {
  std::string name;
  std::vector<std::optional<double>> y;  // one at each tick; nothing: a gap
  bool is_dashed = false;
};

struct LinePlot {
  std::string title, x_label, y_label;
  std::vector<std::string> ticks;  // of the x axis, evenly spaced
  std::vector<PlotLine> lines;
};

struct Section {
  std::string title;
  std::vector<std::string> paragraphs = {};
  std::vector<DocumentTable> tables = {};
  std::vector<LinePlot> plots = {};
};

struct Document {
  std::string title;
  std::vector<Section> sections;
};

std::string to_markdown(const Document& document);
std::string to_html(const Document& document);  // needs nothing else: inline styles and SVG

// An <svg> element.
std::string to_svg(const LinePlot& plot);

}  // namespace nibble::experiment
