#include "nibble/search/gaussian_process.h"

#include <algorithm>
#include <cmath>

namespace nibble::search {
namespace {

constexpr double kLengths[] = {0.2, 0.4, 0.7, 1.0, 1.5, 2.5, 4.0};

double matern(std::span<const double> a, std::span<const double> b, double length) {
  double square = 0;
  for (size_t i = 0; i < a.size(); ++i) square += (a[i] - b[i]) * (a[i] - b[i]);
  const double s = std::sqrt(5.0 * square) / length;
  return (1.0 + s + s * s / 3.0) * std::exp(-s);
}

// Solves L v = b in place.
void solve_lower(const std::vector<double>& lower, std::vector<double>& b) {
  const size_t n = b.size();
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < i; ++j) b[i] -= lower[i * n + j] * b[j];
    b[i] /= lower[i * n + i];
  }
}

// Solves L^T v = b in place.
void solve_upper(const std::vector<double>& lower, std::vector<double>& b) {
  const size_t n = b.size();
  for (size_t i = n; i-- > 0;) {
    for (size_t j = i + 1; j < n; ++j) b[i] -= lower[j * n + i] * b[j];
    b[i] /= lower[i * n + i];
  }
}

}  // namespace

GaussianProcess::GaussianProcess(std::vector<std::vector<double>> x, std::span<const double> y, double alpha)
    : x_(std::move(x)), y_(y.begin(), y.end()) {
  const auto n = static_cast<double>(y_.size());
  mean_ = 0;
  for (const double value : y_) mean_ += value / n;
  double variance = 0;
  for (const double value : y_) variance += (value - mean_) * (value - mean_) / n;
  deviation_ = variance > 0 ? std::sqrt(variance) : 1.0;
  for (double& value : y_) value = (value - mean_) / deviation_;
  double highest = -HUGE_VAL;
  for (const double length : kLengths) {
    const double likelihood = factorize(length, alpha);
    if (likelihood <= highest) continue;
    highest = likelihood;
    length_ = length;
  }
  factorize(length_, alpha);
}

double GaussianProcess::factorize(double length, double alpha) {
  const size_t n = x_.size();
  lower_.assign(n * n, 0.0);
  double log_diagonal = 0;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      double sum = matern(x_[i], x_[j], length) + (i == j ? alpha : 0.0);
      for (size_t k = 0; k < j; ++k) sum -= lower_[i * n + k] * lower_[j * n + k];
      // Rounding may make a pivot of two equal points vanish; alpha is its least true value.
      lower_[i * n + j] = i == j ? std::sqrt(std::max(sum, 0.5 * alpha)) : sum / lower_[j * n + j];
    }
    log_diagonal += std::log(lower_[i * n + i]);
  }
  weights_ = y_;
  solve_lower(lower_, weights_);
  solve_upper(lower_, weights_);
  double fit = 0;
  for (size_t i = 0; i < n; ++i) fit += y_[i] * weights_[i];
  return -0.5 * fit - log_diagonal;
}

GaussianProcess::Prediction GaussianProcess::predict(std::span<const double> x) const {
  std::vector<double> kernel;
  double mean = 0;
  for (size_t i = 0; i < x_.size(); ++i) {
    kernel.push_back(matern(x_[i], x, length_));
    mean += kernel.back() * weights_[i];
  }
  solve_lower(lower_, kernel);
  double variance = 1.0;
  for (const double value : kernel) variance -= value * value;
  return {.mean = mean_ + deviation_ * mean, .deviation = deviation_ * std::sqrt(std::max(variance, 0.0))};
}

}  // namespace nibble::search
