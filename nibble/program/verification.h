// nibble/program/verification.h
// An integer program against the float network that it was made from: the integers of every layer.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nibble/core/tensor.h"
#include "nibble/graph/model.h"
#include "nibble/program/executor.h"
#include "nibble/program/program.h"

namespace nibble::program {

struct Difference {
  int64_t sample = 0, element = 0;
  std::vector<int64_t> index = {};  // of the element, one number an axis
  float expected = 0, found = 0;    // of the network, of the program
  // The same in units of the layer's scale: the network's is whole where its value lies on that grid.
  double expected_code = 0;
  int64_t found_code = 0;
};

struct LayerComparison {
  std::string layer;
  std::string operation;  // "compare"
  int64_t values = 0, differing = 0;
  std::optional<Difference> first;
};

struct Verification {
  std::vector<LayerComparison> layers;  // in the program's order; only those whose value both have
  int64_t samples = 0, same_class = 0;

  int64_t values() const;
  int64_t differing() const;
  // Every integer and every class is the network's.
  bool is_equal() const { return differing() == 0 && same_class == samples; }
  // The layer where the first difference arises, in the program's order; null if all is equal.
  const LayerComparison* first_difference() const;
};

// The network cut off behind a layer that is compared. A softmax in that layer is left out, since the program's
// integers end before it, unless the layer quantizes what the softmax gives.
graph::Model network_up_to(const graph::Model& model, const std::string& layer);

// The network's value of a layer for a batch, that of network_up_to(): x [n, input shape] -> [n, ...]. The whole
// network's output is asked for by "".
using NetworkValue = std::function<Tensor(const std::string& layer, const Tensor& x)>;

class Verifier {
 public:
  explicit Verifier(const Program& program);
  // With another runner than the definition; it keeps the integers of every operation.
  Verifier(const Program& program, std::unique_ptr<Runner> runner);
  // Layers that are compared.
  std::vector<std::string> layers() const;
  // Runs both on a batch and adds up.
  //   x        [n, input shape] as the program sees it: the input's quantizer has been applied for the network
  //   network  what the network sees is x
  void add(const Tensor& x, const NetworkValue& network);
  const Verification& result() const { return result_; }

 private:
  const Program& program_;
  std::unique_ptr<Runner> runner_;
  std::vector<size_t> operations_;  // of each comparison
  Verification result_;
};

}  // namespace nibble::program
