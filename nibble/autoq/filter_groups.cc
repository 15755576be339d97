#include "nibble/autoq/filter_groups.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>
#include <vector>

namespace nibble::autoq {
namespace {

// Merges that want as many channels of every input.
constexpr std::array<std::string_view, 6> kJoins = {"Add", "Subtract", "Multiply", "Maximum", "Minimum", "Average"};

bool is_join(const graph::Layer& layer) {
  return std::find(kJoins.begin(), kJoins.end(), layer.class_name) != kJoins.end();
}

// Layers whose outputs have the channels of their input, or a number that follows from it.
bool keeps_channels(std::string_view class_name) {
  if (class_name.starts_with('Q') && class_name.size() > 1 && std::isupper(class_name[1])) class_name.remove_prefix(1);
  for (const char* part : {"Pooling", "Dropout", "Padding", "UpSampling", "Cropping"}) {
    if (class_name.find(part) != std::string_view::npos) return true;
  }
  static constexpr std::string_view kNames[] = {
      "Activation", "AdaptiveActivation", "BatchNormalization", "ReLU",   "LeakyReLU", "PReLU", "ELU",
      "Softmax",    "DepthwiseConv2D",    "DepthwiseConv1D",    "Flatten"};
  return std::find(std::begin(kNames), std::end(kNames), class_name) != std::end(kNames);
}

// Sets of indexes that are united; index 0 stands for what cannot change.
class Groups {
 public:
  explicit Groups(size_t count) {
    for (size_t i = 0; i < count; ++i) parent_.push_back(i);
  }
  size_t root(size_t i) const {
    while (parent_[i] != i) i = parent_[i];
    return i;
  }
  // The smaller index becomes the root, so 0 stays one.
  void unite(size_t a, size_t b) {
    a = root(a);
    b = root(b);
    parent_[std::max(a, b)] = std::min(a, b);
  }

 private:
  std::vector<size_t> parent_;
};

}  // namespace

std::map<std::string, std::string> filter_groups(const graph::Model& model,
                                                 const std::function<bool(const graph::Layer&)>& is_tuned) {
  constexpr size_t kFixed = 0;
  Groups groups(model.layers.size() + 1);
  std::map<std::string, size_t> source;  // layer -> what decides its channels: 1 + index of a layer, or kFixed
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const graph::Layer& layer = model.layers[i];
    if (is_tuned(layer)) {
      source[layer.name] = i + 1;
    } else if (is_join(layer) && !layer.inputs.empty()) {
      for (const std::string& input : layer.inputs) groups.unite(source[layer.inputs[0]], source[input]);
      source[layer.name] = source[layer.inputs[0]];
    } else if (keeps_channels(layer.class_name) && layer.inputs.size() == 1) {
      source[layer.name] = source[layer.inputs[0]];
    } else {
      // Its output's channels are its own, or a sum of its inputs', with which nothing can be joined.
      source[layer.name] = kFixed;
    }
  }
  for (const std::string& output : model.outputs) groups.unite(kFixed, source[output]);
  std::map<std::string, std::string> leaders;
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const size_t root = groups.root(i + 1);
    if (is_tuned(model.layers[i]) && root != kFixed) leaders[model.layers[i].name] = model.layers[root - 1].name;
  }
  return leaders;
}

}  // namespace nibble::autoq
