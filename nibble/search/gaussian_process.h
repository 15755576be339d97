// Regression by a Gaussian process with a Matern 5/2 kernel [Rasmussen & Williams 2006, algorithm 2.1].
#pragma once

#include <span>
#include <vector>

namespace nibble::search {

class GaussianProcess {
 public:
  struct Prediction {
    double mean = 0;       // in the units of y
    double deviation = 0;  // >= 0
  };

  // Fits with the length of kLengths that makes y likeliest.
  //   x      points of equal size, at least one
  //   y      one value a point; normalised inside
  //   alpha  > 0, added to the diagonal
  GaussianProcess(std::vector<std::vector<double>> x, std::span<const double> y, double alpha);

  Prediction predict(std::span<const double> x) const;
  double length() const { return length_; }

 private:
  // Lower triangle L of K + alpha I = L L^T, row after row; returns the log likelihood.
  double factorize(double length, double alpha);

  std::vector<std::vector<double>> x_;
  std::vector<double> y_;  // normalised
  double mean_ = 0, deviation_ = 1;
  double length_ = 1;
  std::vector<double> lower_;
  std::vector<double> weights_;  // (K + alpha I)^-1 y
};

}  // namespace nibble::search
