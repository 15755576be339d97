// nibble/train/weight_average.h
// The mean of a network's weights over the steps of an epoch (stochastic weight averaging:
// P. Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018).
//
// The network shows either the weights that train or their mean; it is the mean that is evaluated
// and saved, and the others from which training goes on.
#pragma once

#include <vector>

#include "nibble/train/network.h"

namespace nibble::train {

class WeightAverage {
 public:
  // Averages the trainable ones of `parameters`, which must outlive this.
  explicit WeightAverage(const std::vector<Parameter>& parameters) : parameters_(parameters) {}

  void begin();  // an epoch begins: forgets the sums, and shows the weights that train
  void add();    // a step is done
  void show();   // shows the mean, if anything was added

  // The weights were set from outside: they are the ones that train from now on.
  void forget_trained() { trained_.clear(); }

  // The weights that train, of all parameters in order, where the mean is shown; else empty. For checkpoints.
  std::vector<std::vector<float>> trained() const;
  //   throws  CorruptFile if they are not those of the parameters
  void restore_trained(const std::vector<std::vector<float>>& values);

 private:
  const std::vector<Parameter>& parameters_;
  std::vector<at::Tensor> sums_;     // double; of trainable parameters only
  std::vector<at::Tensor> trained_;  // of all parameters; empty while they are shown themselves
  int64_t added_ = 0;
};

}  // namespace nibble::train
