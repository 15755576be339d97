#include "network_codes.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "nibble/program/verification.h"
#include "nibble/train/trainer.h"

namespace nibble {

void expect_the_networks_codes(const program::Program& program, const graph::Model& model, const Tensor& x,
                               size_t least_compared) {
  program::Verifier verifier(program);
  std::map<std::string, train::Trainer> networks;
  networks.emplace("", train::Trainer(model, {}));
  for (const std::string& layer : verifier.layers()) {
    networks.emplace(layer, train::Trainer(program::network_up_to(model, layer), {}));
  }
  verifier.add(x, [&](const std::string& layer, const Tensor& batch) { return networks.at(layer).predict(batch); });
  EXPECT_GE(verifier.result().layers.size(), least_compared);
  for (const program::LayerComparison& layer : verifier.result().layers) {
    EXPECT_EQ(layer.differing, 0) << layer.layer << " of " << layer.values << ", first at "
                                  << (layer.first ? layer.first->element : -1) << ": "
                                  << (layer.first ? layer.first->expected : 0) << " in the network, "
                                  << (layer.first ? layer.first->found : 0) << " in the program";
  }
  EXPECT_EQ(verifier.result().same_class, verifier.result().samples);
}

}  // namespace nibble
