#include "nibble/experiment/document.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace nibble::experiment {
namespace {

constexpr double kWidth = 560, kHeight = 320, kLeft = 56, kRight = 150, kTop = 36, kBottom = 44;
constexpr std::array kColours = {"#0b6e99", "#c44536", "#3a7d44", "#7b4b94", "#b8860b", "#555555"};

std::string escaped(const std::string& words) {
  std::string result;
  for (const char c : words) {
    if (c == '<') {
      result += "&lt;";
    } else if (c == '&') {
      result += "&amp;";
    } else if (c == '"') {
      result += "&quot;";
    } else {
      result += c;
    }
  }
  return result;
}

std::string markdown_cell(const std::string& words) {
  std::string result;
  for (const char c : words) result += c == '|' ? std::string("\\|") : std::string(1, c);
  return result;
}

std::string markdown_table(const DocumentTable& table) {
  const auto line = [](const std::vector<std::string>& cells) {
    std::string text = "|";
    for (const std::string& cell : cells) text += " " + markdown_cell(cell) + " |";
    return text + "\n";
  };
  std::string text = line(table.headers);
  for (size_t i = 0; i < table.headers.size(); ++i) text += i == 0 ? "|---|" : "---|";
  text += "\n";
  for (const auto& row : table.rows) text += line(row);
  return text + "\n";
}

std::string html_table(const DocumentTable& table) {
  const auto line = [](const char* tag, const std::vector<std::string>& cells) {
    std::string text = "<tr>";
    for (const std::string& cell : cells) text += fmt::format("<{0}>{1}</{0}>", tag, escaped(cell));
    return text + "</tr>\n";
  };
  std::string text = "<table>\n" + line("th", table.headers);
  for (const auto& row : table.rows) text += line("td", row);
  return text + "</table>\n";
}

// Where a number lies on the picture.
struct Axes {
  size_t ticks = 1;
  double low = 0, high = 1;

  double x(size_t tick) const {
    const double step = (kWidth - kLeft - kRight) / static_cast<double>(std::max<size_t>(1, ticks));
    return kLeft + (static_cast<double>(tick) + 0.5) * step;
  }
  double y(double value) const { return kHeight - kBottom - (value - low) / (high - low) * (kHeight - kTop - kBottom); }
};

Axes axes_of(const LinePlot& plot) {
  Axes axes{.ticks = plot.ticks.size(), .low = HUGE_VAL, .high = -HUGE_VAL};
  for (const PlotLine& line : plot.lines) {
    for (const auto& value : line.y) {
      if (!value) continue;
      axes.low = std::min(axes.low, *value);
      axes.high = std::max(axes.high, *value);
    }
  }
  if (axes.low > axes.high) return {.ticks = plot.ticks.size()};
  const double margin = std::max(0.08 * (axes.high - axes.low), 0.5);
  axes.low -= margin, axes.high += margin;
  return axes;
}

std::string text_at(double x, double y, const char* anchor, const std::string& words) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor, escaped(words));
}

std::string grid_of(const LinePlot& plot, const Axes& axes) {
  constexpr int kSteps = 5;
  std::string svg;
  for (int i = 0; i <= kSteps; ++i) {
    const double value = axes.low + (axes.high - axes.low) * i / kSteps;
    svg += fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#e4e4e4\"/>\n", kLeft,
                       axes.y(value), kWidth - kRight, axes.y(value));
    svg += text_at(kLeft - 6, axes.y(value) + 4, "end", fmt::format("{:.1f}", value));
  }
  for (size_t i = 0; i < plot.ticks.size(); ++i)
    svg += text_at(axes.x(i), kHeight - kBottom + 18, "middle", plot.ticks[i]);
  svg += text_at((kLeft + kWidth - kRight) / 2, kHeight - 8, "middle", plot.x_label);
  return svg + text_at(kLeft, kTop - 20, "start", fmt::format("{}: {}", plot.title, plot.y_label));
}

std::string line_of(const PlotLine& line, const Axes& axes, const char* colour) {
  std::string svg, points;
  for (size_t i = 0; i < line.y.size(); ++i) {
    if (!line.y[i]) continue;
    points += fmt::format("{:.1f},{:.1f} ", axes.x(i), axes.y(*line.y[i]));
    svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"{}\"><title>{}: {:.2f}</title></circle>\n",
                       axes.x(i), axes.y(*line.y[i]), colour, escaped(line.name), *line.y[i]);
  }
  return fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{}/>\n", points, colour,
                     line.is_dashed ? " stroke-dasharray=\"5 4\"" : "") +
         svg;
}

}  // namespace

std::string to_svg(const LinePlot& plot) {
  const Axes axes = axes_of(plot);
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n",
      kWidth, kHeight);
  svg += grid_of(plot, axes);
  for (size_t i = 0; i < plot.lines.size(); ++i) {
    const char* colour = kColours[i % kColours.size()];
    svg += line_of(plot.lines[i], axes, colour);
    const double y = kTop + 18.0 * static_cast<double>(i);
    svg += fmt::format(
        "<line x1=\"{0:.1f}\" y1=\"{2:.1f}\" x2=\"{1:.1f}\" y2=\"{2:.1f}\" stroke=\"{3}\" "
        "stroke-width=\"2\"{4}/>\n",
        kWidth - kRight + 8, kWidth - kRight + 28, y, colour,
        plot.lines[i].is_dashed ? " stroke-dasharray=\"5 4\"" : "");
    svg += text_at(kWidth - kRight + 34, y + 4, "start", plot.lines[i].name);
  }
  return svg + "</svg>\n";
}

std::string to_markdown(const Document& document) {
  std::string text = "# " + document.title + "\n\n";
  for (const Section& section : document.sections) {
    text += "## " + section.title + "\n\n";
    for (const std::string& paragraph : section.paragraphs) text += paragraph + "\n\n";
    for (const DocumentTable& table : section.tables) text += markdown_table(table);
  }
  return text;
}

std::string to_html(const Document& document) {
  std::string text = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title>\n<style>body{{font-family:"
      "sans-serif;max-width:72em;margin:2em auto;padding:0 1em}}table{{border-collapse:collapse;margin:1em 0}}"
      "td,th{{border:1px solid #ccc;padding:.3em "
      ".6em;text-align:right}}td:first-child,th:first-child{{text-align:left}}"
      "</style></head><body>\n<h1>{0}</h1>\n",
      escaped(document.title));
  for (const Section& section : document.sections) {
    text += "<h2>" + escaped(section.title) + "</h2>\n";
    for (const std::string& paragraph : section.paragraphs) text += "<p>" + escaped(paragraph) + "</p>\n";
    for (const DocumentTable& table : section.tables) text += html_table(table);
    for (const LinePlot& plot : section.plots) text += to_svg(plot);
  }
  return text + "</body></html>\n";
}

}  // namespace nibble::experiment
