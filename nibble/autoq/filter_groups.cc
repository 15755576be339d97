#include "nibble/autoq/filter_groups.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "nibble/graph/channel_order.h"

namespace nibble::autoq {
namespace {

using graph::Layer;

constexpr size_t kFixed = 0;  // stands for what cannot change; layers are numbered from 1

// Merges that want as much of every input.
constexpr std::array<std::string_view, 6> kJoins = {"Add", "Subtract", "Multiply", "Maximum", "Minimum", "Average"};

bool is_join(const Layer& layer) { return std::find(kJoins.begin(), kJoins.end(), layer.class_name) != kJoins.end(); }

// Layers whose channels do not follow from those of their input.
bool has_own_channels(const Layer& layer) {
  if (layer.class_name == "RNN" || layer.class_name.ends_with("Bidirectional")) return true;
  return layer.has("units") || layer.has("filters") || layer.has("output_dim");
}

bool is_grouped(const Layer& layer) { return layer.has("groups") && layer.get_int("groups") > 1; }

size_t channel_axis(const Layer& layer, size_t rank) {
  return rank < 2 || graph::is_channels_first(layer) ? 0 : rank - 1;
}

// Keras counts the batch axis.
size_t without_batch(int64_t axis, size_t rank) {
  return static_cast<size_t>((axis < 0 ? axis + static_cast<int64_t>(rank) + 1 : axis) - 1);
}

// Sets of indexes that are united.
class Groups {
 public:
  explicit Groups(size_t count) {
    for (size_t i = 0; i < count; ++i) parent_.push_back(i);
  }
  size_t root(size_t i) const {
    while (parent_[i] != i) i = parent_[i];
    return i;
  }
  // The smaller index becomes the root, so kFixed stays one.
  void unite(size_t a, size_t b) {
    a = root(a);
    b = root(b);
    parent_[std::max(a, b)] = std::min(a, b);
  }

 private:
  std::vector<size_t> parent_;
};

// How much an axis holds: a sum of multiples of tuned layers' filters and of a constant.
struct Extent {
  std::map<size_t, int64_t> terms;  // group -> how often its filters are in it; of kFixed: the constant
  size_t made = 0;                  // not 0: no such sum, but what follows from these groups in a way of its own
  bool operator==(const Extent&) const = default;
};
using Axes = std::vector<Extent>;  // of a layer's output, as in its shape

Extent constant(int64_t count) { return {.terms = {{kFixed, count}}}; }
bool is_constant(const Extent& extent) { return extent.terms.size() == 1 && extent.terms.contains(kFixed); }

// Follows every axis through the network and unites what must agree. What is derived from several layers (a
// concatenation, a reshaped tensor) cannot agree with anything but itself, so where it has to, all of them are fixed.
class Tracer {
 public:
  Tracer(const graph::Model& model, const std::function<bool(const Layer&)>& is_tuned)
      : model_(model),
        is_tuned_(is_tuned),
        shapes_(graph::infer_shapes(model)),
        groups_(model.layers.size() + 1),
        filters_(model.layers.size() + 1, 0) {}

  Groups run() {
    for (size_t i = 0; i < model_.layers.size(); ++i) axes_[model_.layers[i].name] = trace(model_.layers[i], i + 1);
    for (const std::string& output : model_.outputs) fix(axes_[output]);
    return groups_;
  }

 private:
  Axes trace(const Layer& layer, size_t index) {
    if (layer.inputs.empty()) return constants(layer);
    std::vector<Axes> inputs;
    for (const std::string& input : layer.inputs) inputs.push_back(read(input));
    const std::string& name = layer.class_name;
    if (has_own_channels(layer)) return own_channels(layer, index, inputs[0]);
    if (is_join(layer)) return joined(layer, inputs);
    if (name == "Concatenate") return concatenated(layer, inputs);
    if (name == "Dot") return contracted(layer, inputs);
    if (inputs.size() == 1 && name == "Reshape") return reshaped(layer, index, inputs[0]);
    if (inputs.size() == 1 && name == "Flatten") return {product(inputs[0])};
    if (inputs.size() == 1 && name == "Permute") return permuted(layer, inputs[0]);
    if (inputs.size() == 1 && name.find("Global") != std::string::npos) return pooled(layer, inputs[0]);
    if (inputs.size() == 1 && inputs[0].size() == rank_of(layer)) return followed(layer, inputs[0]);
    for (const Axes& input : inputs) fix(input);  // a layer that this does not know
    return constants(layer);
  }

  // ---- kinds of layers

  Axes own_channels(const Layer& layer, size_t index, const Axes& input) {
    const size_t channels = channel_axis(layer, rank_of(layer));
    if (layer.class_name == "QDepthwiseConv2DTranspose") fix(input[channels]);  // its filters are its input's
    Axes axes = constants(layer);
    for (size_t axis = 0; axis < std::min(axes.size(), input.size()); ++axis) {
      if (axis != channels) axes[axis] = follow(layer, axis, input[axis]);
    }
    if (is_tuned_(layer)) axes[channels] = tuned(index, extent_of(layer.name, channels));
    if (is_grouped(layer)) {  // multiplied by what may round, either may no longer be a multiple of the groups
      fix(input[channels]);
      fix(axes[channels]);
    }
    return axes;
  }

  // An input of extent 1 is repeated along an axis where others have more: it has to stay at 1.
  Axes joined(const Layer& layer, const std::vector<Axes>& inputs) {
    Axes axes = constants(layer);
    for (size_t axis = 0; axis < axes.size(); ++axis) {
      std::vector<Extent> extents;
      for (size_t k = 0; k < inputs.size(); ++k) {
        const bool is_repeated = extent_of(layer.inputs[k], axis) == 1 && extent_of(layer.name, axis) != 1;
        is_repeated ? fix(inputs[k][axis]) : extents.push_back(inputs[k][axis]);
      }
      axes[axis] = agreed(extents);
    }
    return axes;
  }

  Axes concatenated(const Layer& layer, const std::vector<Axes>& inputs) {
    Axes axes = constants(layer);
    const size_t along = without_batch(layer.get_int("axis"), axes.size());
    for (size_t axis = 0; axis < axes.size(); ++axis) {
      std::vector<Extent> extents;
      for (const Axes& input : inputs) extents.push_back(input[axis]);
      axes[axis] = axis == along ? sum(extents) : agreed(extents);
    }
    return axes;
  }

  Axes contracted(const Layer& layer, const std::vector<Axes>& inputs) {
    const std::vector<int64_t>& given = layer.get_ints("axes");
    Axes rest;
    std::vector<Extent> summed;
    for (size_t k = 0; k < inputs.size(); ++k) {
      const size_t along = without_batch(given[std::min(k, given.size() - 1)], inputs[k].size());
      for (size_t axis = 0; axis < inputs[k].size(); ++axis) (axis == along ? summed : rest).push_back(inputs[k][axis]);
    }
    agreed(summed);
    return rest.empty() ? constants(layer) : rest;
  }

  Axes reshaped(const Layer& layer, size_t index, const Axes& input) {
    Axes axes = constants(layer);
    if (is_tuned_(layer)) {  // its last extent is scaled as all that it is made of
      axes.back() = tuned(index, extent_of(layer.name, axes.size() - 1));
      bool follows = false;
      for (const auto& [group, times] : merged(input)) {
        follows = follows || group != kFixed;
        if (group != kFixed) groups_.unite(group, index);
      }
      if (!follows) fix(axes.back());
      return axes;
    }
    Extent elements = product(input);
    const std::vector<int64_t>& target = layer.get_ints("target_shape");
    const auto open = std::find(target.begin(), target.end(), int64_t{-1});
    int64_t rest = 1;
    for (const int64_t extent : target) rest *= extent == -1 ? 1 : extent;
    const bool fits = open != target.end() && elements.made == 0 && rest > 0 &&
                      std::all_of(elements.terms.begin(), elements.terms.end(),
                                  [&](const auto& term) { return term.second % rest == 0; });
    if (!fits) {
      fix(input);
    } else if (!is_constant(elements)) {
      for (auto& [group, times] : elements.terms) times /= rest;
      axes[static_cast<size_t>(open - target.begin())] = elements;
    }
    return axes;
  }

  Axes permuted(const Layer& layer, const Axes& input) {
    Axes axes;
    for (const int64_t axis : layer.get_ints("dims")) axes.push_back(input[static_cast<size_t>(axis - 1)]);
    return axes;
  }

  Axes pooled(const Layer& layer, const Axes& input) {
    Axes axes = constants(layer);
    axes[channel_axis(layer, axes.size())] = input[channel_axis(layer, input.size())];
    return axes;
  }

  // Activations, normalizations, noise, pools, paddings, depthwise convolutions, ...
  Axes followed(const Layer& layer, const Axes& input) {
    Axes axes;
    for (size_t axis = 0; axis < input.size(); ++axis) axes.push_back(follow(layer, axis, input[axis]));
    if (!layer.has("depth_multiplier")) return axes;
    const size_t channels = channel_axis(layer, axes.size());
    axes[channels] = product({input[channels], constant(layer.get_int("depth_multiplier"))});
    return axes;
  }

  // ---- extents

  size_t rank_of(const Layer& layer) const { return static_cast<size_t>(shapes_.at(layer.name).rank()); }
  int64_t extent_of(const std::string& layer, size_t axis) const { return shapes_.at(layer)[static_cast<int>(axis)]; }

  Axes constants(const Layer& layer) const {
    Axes axes;
    for (const int64_t extent : shapes_.at(layer.name)) axes.push_back(constant(extent));
    return axes;
  }

  // What a layer gives, by the groups as they are now.
  Axes read(const std::string& layer) const {
    Axes axes = axes_.at(layer);
    for (size_t axis = 0; axis < axes.size(); ++axis) {
      Extent now{.terms = {}, .made = axes[axis].made};
      for (const auto& [group, times] : axes[axis].terms) {
        const size_t root = groups_.root(group);
        now.terms[root] += root == kFixed && group != kFixed ? times * filters_[group] : times;
      }
      axes[axis] = is_constant(now) ? constant(extent_of(layer, axis)) : now;
    }
    return axes;
  }

  Extent tuned(size_t index, int64_t filters) {
    filters_[index] = filters;
    return {.terms = {{index, 1}}};
  }

  static std::map<size_t, int64_t> merged(const std::vector<Extent>& extents) {
    std::map<size_t, int64_t> terms;
    for (const Extent& extent : extents) {
      for (const auto& [group, times] : extent.terms) terms[group] += times;
    }
    return terms;
  }

  Extent no_sum(const std::vector<Extent>& extents) { return {.terms = merged(extents), .made = ++made_}; }

  // Where a layer does not change how much there is, it hands on what it gets.
  Extent follow(const Layer& layer, size_t axis, const Extent& input) {
    if (is_constant(input)) return constant(extent_of(layer.name, axis));
    return extent_of(layer.name, axis) == extent_of(layer.inputs[0], axis) ? input : no_sum({input});
  }

  Extent sum(const std::vector<Extent>& extents) {
    const auto is_sum = [](const Extent& extent) {
      return extent.made == 0 && !(is_constant(extent) && extent.terms.at(kFixed) == Shape::kFree);
    };
    if (!std::all_of(extents.begin(), extents.end(), is_sum)) return no_sum(extents);
    return {.terms = merged(extents)};
  }

  // A sum where but one factor is tuned.
  Extent product(const std::vector<Extent>& factors) {
    Extent tuned_factor = constant(1);
    int64_t times = 1;
    for (const Extent& factor : factors) {
      if (is_constant(factor) && factor.terms.at(kFixed) != Shape::kFree) {
        times *= factor.terms.at(kFixed);
      } else if (is_constant(tuned_factor) && factor.made == 0 && !is_constant(factor)) {
        tuned_factor = factor;
      } else {
        return no_sum(factors);
      }
    }
    for (auto& [group, count] : tuned_factor.terms) count *= times;
    return tuned_factor;
  }

  // Filters of one group become one; other sums that differ can only agree where nothing changes.
  Extent agreed(const std::vector<Extent>& extents) {
    const Extent& first = extents.front();
    const auto is_multiple = [&](const Extent& extent) {
      return extent.made == 0 && extent.terms.size() == 1 && !extent.terms.contains(kFixed) &&
             extent.terms.begin()->second == first.terms.begin()->second;
    };
    if (std::all_of(extents.begin(), extents.end(), is_multiple)) {
      for (const Extent& extent : extents) groups_.unite(first.terms.begin()->first, extent.terms.begin()->first);
    } else if (std::count(extents.begin(), extents.end(), first) != std::ssize(extents)) {
      fix(extents);
    }
    return first;
  }

  void fix(const Extent& extent) {
    for (const auto& [group, times] : extent.terms) groups_.unite(kFixed, group);
  }
  void fix(const std::vector<Extent>& extents) {
    for (const Extent& extent : extents) fix(extent);
  }

  const graph::Model& model_;
  const std::function<bool(const Layer&)>& is_tuned_;
  const std::map<std::string, Shape> shapes_;
  Groups groups_;
  std::vector<int64_t> filters_;      // by index, before tuning
  std::map<std::string, Axes> axes_;  // by layer
  size_t made_ = 0;
};

}  // namespace

std::map<std::string, std::string> filter_groups(const graph::Model& model,
                                                 const std::function<bool(const Layer&)>& is_tuned) {
  const Groups groups = Tracer(model, is_tuned).run();
  std::map<std::string, std::string> leaders;
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const size_t root = groups.root(i + 1);
    if (is_tuned(model.layers[i]) && root != kFixed) leaders[model.layers[i].name] = model.layers[root - 1].name;
  }
  return leaders;
}

}  // namespace nibble::autoq
