// nibble/report/quantizer_plot.h
// A quantizer as a picture and as a table: its value and its gradient over its input.
#pragma once

#include <string>
#include <vector>

#include "nibble/quant/plain_functions.h"
#include "nibble/quant/quantizer.h"

namespace nibble::report {

struct QuantizerSample {
  float x = 0, value = 0, gradient = 0;
};

// Value and gradient (of an upstream gradient of 1) at each x, in the inference phase. Scales found from the data are
// found from these x.
std::vector<QuantizerSample> sample(const quant::Quantizer& quantizer, const std::vector<float>& x);
// The same of hard_sigmoid, smooth_tanh, ...
std::vector<QuantizerSample> sample(const quant::PlainFunction& function, const std::vector<float>& x);

// `count` points from low to high, ends included; count >= 2
std::vector<float> evenly(float low, float high, int count);

// An SVG of its own: value, gradient (dashed) and the identity.
//   samples  in the order of x, two or more
std::string plot_svg(const std::string& title, const std::vector<QuantizerSample>& samples);

// Markdown: | x | value | gradient |
std::string markdown_table(const std::vector<QuantizerSample>& samples);

}  // namespace nibble::report
