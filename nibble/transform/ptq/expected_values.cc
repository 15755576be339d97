#include "nibble/transform/ptq/expected_values.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <optional>

namespace nibble::ptq {
namespace {

using Means = std::vector<double>;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

double density(double x) { return std::exp(-0.5 * x * x) / std::sqrt(2.0 * std::numbers::pi); }
double distribution(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

// slope * x below the threshold 0, x above it, at most `highest`.
struct Rectifier {
  double slope = 0.0, highest = kInfinity;
};

std::optional<Rectifier> rectifier_of(const graph::Layer& layer) {
  if (layer.class_name == "ReLU" || layer.class_name == "LeakyReLU") {
    if (layer.has("threshold") && layer.get_float("threshold") != 0.0) return std::nullopt;
    Rectifier result;
    if (layer.has("negative_slope")) result.slope = layer.get_float("negative_slope");
    if (layer.has("max_value")) result.highest = layer.get_float("max_value");
    return result;
  }
  if (layer.class_name != "Activation") return std::nullopt;
  const std::string function = layer.activation_function();
  if (function == "relu") return Rectifier{};
  if (function == "relu6") return Rectifier{.highest = 6.0};
  return std::nullopt;
}

bool keeps_means(const graph::Layer& layer) {
  constexpr std::array<std::string_view, 9> kClasses = {
      "Dropout",          "SpatialDropout2D",       "GaussianDropout",        "GaussianNoise", "AveragePooling1D",
      "AveragePooling2D", "GlobalAveragePooling1D", "GlobalAveragePooling2D", "ZeroPadding2D"};
  return std::find(kClasses.begin(), kClasses.end(), layer.class_name) != kClasses.end();
}

// A batch normalization on the last axis.
std::optional<ChannelMoments> moments_of(const graph::Layer& layer, int rank) {
  const int64_t axis = layer.get_int("axis");
  if (axis != -1 && axis != rank) return std::nullopt;
  return output_moments(layer);
}

// Layers in order; what is normal stays so until it is rectified, then only its mean is known.
class Propagation {
 public:
  Propagation(const graph::Model& model, const std::map<std::string, ChannelMoments>& folded)
      : shapes_(graph::infer_shapes(model)), normal_(folded) {
    for (const graph::Layer& layer : model.layers) visit(layer);
    for (const auto& [name, moments] : normal_) means_.emplace(name, moments.mean);
  }

  std::map<std::string, Means> means() && { return std::move(means_); }

 private:
  void visit(const graph::Layer& layer) {
    if (normal_.contains(layer.name) || layer.inputs.empty()) return;
    if (layer.class_name == "BatchNormalization") {
      if (auto moments = moments_of(layer, shapes_.at(layer.name).rank())) normal_.emplace(layer.name, *moments);
      return;
    }
    const std::string& input = layer.inputs[0];
    if (const auto rectifier = rectifier_of(layer); rectifier && normal_.contains(input)) {
      means_.emplace(layer.name, rectified(normal_.at(input), *rectifier));
      return;
    }
    if (layer.class_name == "Concatenate" || layer.class_name == "Add") return merge(layer);
    const Means* known = mean_of(input);
    if (known == nullptr) return;
    if (keeps_means(layer)) means_.emplace(layer.name, *known);
    if (layer.class_name == "Flatten") means_.emplace(layer.name, repeated(*known, shapes_.at(layer.name)[-1]));
  }

  const Means* mean_of(const std::string& name) const {
    if (const auto found = normal_.find(name); found != normal_.end()) return &found->second.mean;
    const auto found = means_.find(name);
    return found == means_.end() ? nullptr : &found->second;
  }

  static Means rectified(const ChannelMoments& moments, const Rectifier& r) {
    Means means;
    for (size_t c = 0; c < moments.mean.size(); ++c) {
      const double above = clipped_mean(moments.mean[c], moments.deviation[c], 0.0, r.highest);
      const double below = r.slope == 0.0 ? 0.0 : clipped_mean(moments.mean[c], moments.deviation[c], -kInfinity, 0.0);
      means.push_back(above + r.slope * below);
    }
    return means;
  }

  // Channels run fastest.
  static Means repeated(const Means& means, int64_t count) {
    Means result;
    for (int64_t i = 0; i < count; ++i) result.push_back(means[static_cast<size_t>(i) % means.size()]);
    return result;
  }

  void merge(const graph::Layer& layer) {
    const auto channels = static_cast<size_t>(shapes_.at(layer.name)[-1]);
    const bool joins = layer.class_name == "Concatenate";
    Means result(joins ? 0 : channels, 0.0);
    for (const std::string& input : layer.inputs) {
      const Means* known = mean_of(input);
      if (known == nullptr) return;
      if (joins) {
        result.insert(result.end(), known->begin(), known->end());
      } else if (known->size() == channels) {
        std::transform(known->begin(), known->end(), result.begin(), result.begin(), std::plus<>());
      } else {
        return;
      }
    }
    if (result.size() == channels) means_.emplace(layer.name, std::move(result));
  }

  const std::map<std::string, Shape> shapes_;
  std::map<std::string, ChannelMoments> normal_;
  std::map<std::string, Means> means_;
};

}  // namespace

double clipped_mean(double mean, double deviation, double low, double high) {
  if (!(deviation > 0.0)) return std::clamp(mean, low, high);
  const double u = (low - mean) / deviation, v = (high - mean) / deviation;
  double result = mean * (distribution(v) - distribution(u)) + deviation * (density(u) - density(v));
  if (std::isfinite(low)) result += low * distribution(u);
  if (std::isfinite(high)) result += high * distribution(-v);
  return result;
}

ExpectedValues::ExpectedValues(const graph::Model& model, const std::map<std::string, ChannelMoments>& folded)
    : means_(Propagation(model, folded).means()) {}

const std::vector<double>* ExpectedValues::mean_of(const std::string& layer) const {
  const auto found = means_.find(layer);
  return found == means_.end() ? nullptr : &found->second;
}

}  // namespace nibble::ptq
