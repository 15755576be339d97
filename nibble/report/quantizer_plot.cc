#include "nibble/report/quantizer_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace nibble::report {
namespace {

constexpr double kWidth = 640, kHeight = 380, kLeft = 52, kRight = 16, kTop = 40, kBottom = 36;

// The rectangle of numbers that the picture shows, and where a number lies on it.
struct Frame {
  double x_low, x_high, y_low, y_high;

  double x(double value) const { return kLeft + (value - x_low) / (x_high - x_low) * (kWidth - kLeft - kRight); }
  double y(double value) const {
    return kHeight - kBottom - (value - y_low) / (y_high - y_low) * (kHeight - kTop - kBottom);
  }
};

Frame frame_of(const std::vector<QuantizerSample>& samples) {
  Frame frame{samples.front().x, samples.back().x, 0, 1};
  for (const QuantizerSample& s : samples) {
    for (const float value : {s.value, s.gradient}) {
      if (!std::isfinite(value)) continue;
      frame.y_low = std::min(frame.y_low, static_cast<double>(value));
      frame.y_high = std::max(frame.y_high, static_cast<double>(value));
    }
  }
  const double margin = 0.06 * (frame.y_high - frame.y_low);
  frame.y_low -= margin, frame.y_high += margin;
  return frame;
}

// 1, 2 or 5 times a power of ten: about `count` of them fit.
double tick_step(double span, int count) {
  const double rough = span / count, power = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (rough <= factor * power) return factor * power;
  }
  return 10 * power;
}

std::string line(double x1, double y1, double x2, double y2, const char* style) {
  return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n", x1, y1, x2, y2, style);
}

std::string text(double x, double y, const char* anchor, const std::string& words) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor, words);
}

std::string escaped(const std::string& words) {
  std::string result;
  for (const char c : words) {
    if (c == '<') {
      result += "&lt;";
    } else if (c == '&') {
      result += "&amp;";
    } else {
      result += c;
    }
  }
  return result;
}

std::string grid(const Frame& frame) {
  constexpr const char* kThin = "stroke=\"#e4e4e4\"";
  constexpr const char* kAxis = "stroke=\"#9a9a9a\"";
  std::string svg;
  const double dx = tick_step(frame.x_high - frame.x_low, 8), dy = tick_step(frame.y_high - frame.y_low, 6);
  const auto on_axis = [](double value, double step) { return std::abs(value) < step / 2; };
  for (double v = std::ceil(frame.x_low / dx) * dx; v <= frame.x_high + dx * 1e-6; v += dx) {
    svg += line(frame.x(v), kTop, frame.x(v), kHeight - kBottom, on_axis(v, dx) ? kAxis : kThin);
    svg += text(frame.x(v), kHeight - kBottom + 18, "middle", fmt::format("{:g}", on_axis(v, dx) ? 0.0 : v));
  }
  for (double v = std::ceil(frame.y_low / dy) * dy; v <= frame.y_high + dy * 1e-6; v += dy) {
    svg += line(kLeft, frame.y(v), kWidth - kRight, frame.y(v), on_axis(v, dy) ? kAxis : kThin);
    svg += text(kLeft - 6, frame.y(v) + 4, "end", fmt::format("{:g}", on_axis(v, dy) ? 0.0 : v));
  }
  return svg;
}

// A function with steps: where neighbours differ by a jump the line stands upright.
std::string curve(const Frame& frame, const std::vector<QuantizerSample>& samples, float QuantizerSample::*what,
                  const char* style) {
  std::string points;
  for (const QuantizerSample& s : samples) {
    if (!std::isfinite(s.*what)) continue;
    points += fmt::format("{:.1f},{:.1f} ", frame.x(s.x), frame.y(s.*what));
  }
  if (!points.empty()) points.pop_back();
  return fmt::format("<polyline points=\"{}\" fill=\"none\" {}/>\n", points, style);
}

}  // namespace

std::vector<float> evenly(float low, float high, int count) {
  std::vector<float> x;
  for (int i = 0; i < count; ++i) {
    x.push_back(low + (high - low) * static_cast<float>(i) / static_cast<float>(count - 1));
  }
  return x;
}

std::vector<QuantizerSample> sample(const quant::Quantizer& quantizer, const std::vector<float>& x) {
  const Tensor input(Shape{static_cast<int64_t>(x.size()), 1}, x);  // one channel
  const Tensor value = quantizer.quantize(input).real;
  const Tensor gradient = quantizer.gradient(input, Tensor(input.shape(), 1.0f));
  std::vector<QuantizerSample> samples;
  for (size_t i = 0; i < x.size(); ++i) {
    samples.push_back({x[i], value[static_cast<int64_t>(i)], gradient[static_cast<int64_t>(i)]});
  }
  return samples;
}

std::vector<QuantizerSample> sample(const quant::PlainFunction& function, const std::vector<float>& x) {
  std::vector<QuantizerSample> samples;
  for (const float value : x) samples.push_back({value, function.value(value), function.derivative(value)});
  return samples;
}

std::string plot_svg(const std::string& title, const std::vector<QuantizerSample>& samples) {
  const Frame frame = frame_of(samples);
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0f} {:.0f}\" font-family=\"sans-serif\" "
      "font-size=\"12\" fill=\"#333\">\n<rect width=\"{:.0f}\" height=\"{:.0f}\" fill=\"#fff\"/>\n",
      kWidth, kHeight, kWidth, kHeight);
  svg += fmt::format("<clipPath id=\"c\"><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/></clipPath>\n", kLeft,
                     kTop, kWidth - kLeft - kRight, kHeight - kTop - kBottom);
  svg += grid(frame);
  svg += text(kLeft, 22, "start", escaped(title));
  svg += "<g clip-path=\"url(#c)\">\n";
  svg += line(frame.x(frame.x_low), frame.y(frame.x_low), frame.x(frame.x_high), frame.y(frame.x_high),
              "stroke=\"#bbb\" stroke-dasharray=\"2 4\"");
  svg += curve(frame, samples, &QuantizerSample::gradient,
               "stroke=\"#d9730d\" stroke-width=\"1.5\" stroke-dasharray=\"6 3\"");
  svg += curve(frame, samples, &QuantizerSample::value, "stroke=\"#1f5fbf\" stroke-width=\"2\"");
  svg += "</g>\n";
  svg += "<g fill=\"#1f5fbf\">" + text(kWidth - kRight - 90, 22, "end", "value") + "</g>";
  svg += "<g fill=\"#d9730d\">" + text(kWidth - kRight, 22, "end", "gradient") + "</g>";
  return svg + "</svg>\n";
}

std::string markdown_table(const std::vector<QuantizerSample>& samples) {
  std::string table = "| x | value | gradient |\n|---|---|---|\n";
  for (const QuantizerSample& s : samples) table += fmt::format("| {:g} | {:g} | {:g} |\n", s.x, s.value, s.gradient);
  return table;
}

}  // namespace nibble::report
