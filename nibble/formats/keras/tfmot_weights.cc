#include "nibble/formats/keras/tfmot_weights.h"

#include <algorithm>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/formats/keras/weight_layout.h"
#include "nibble/graph/layer_schema.h"

namespace nibble::formats::keras {
namespace {

using graph::Layer;
using graph::Model;

constexpr const char* kStep = "optimizer_step";
constexpr size_t kMostVariables = 1000;  // of one group

std::string described(const TfmotLayer& stored) {
  return fmt::format("layer '{}' ({})", stored.name, stored.class_name);
}

// A QuantizeLayer names its variables after itself, nibble after the point.
bool is_name_of(const TfmotLayer& stored, const std::string& path, const std::string& wanted) {
  const std::string name = last_part(path);
  if (stored.storage != TfmotStorage::kQuantizer) return name == wanted;
  return name.ends_with(wanted.substr(wanted.rfind('_')));
}

void read_by_names(Layer& layer, const TfmotLayer& stored, const Expected& expected, const Hdf5Reader& file,
                   const std::string& group) {
  const auto names = file.texts(group, "weight_names");
  if (!names) throw CorruptFile("[keras] {}: the file lists no weight_names.", described(stored));
  std::vector<std::string> left = *names;
  std::erase_if(left, [](const std::string& path) { return last_part(path) == kStep; });
  std::vector<graph::Weight> weights;
  for (const auto& [wanted, shape] : expected) {
    const auto found =
        std::find_if(left.begin(), left.end(), [&](const auto& path) { return is_name_of(stored, path, wanted); });
    if (found == left.end()) {
      throw InvalidArgument(
          "[keras] {}: the file holds no '{}' for it, but has [{}]. TFMOT saves some layers without ranges that their "
          "configuration asks for; such a model has to be built anew before it is saved.",
          described(stored), wanted, fmt::join(*names, ", "));
    }
    weights.push_back({wanted, file.tensor(child_group(group, *found), shape)});
    left.erase(found);
  }
  if (!left.empty()) {
    throw InvalidArgument("[keras] {}: the file holds '{}' for it, which its configuration has no place for.",
                          described(stored), left.front());
  }
  layer.weights = std::move(weights);
}

void check_names(const std::vector<TfmotLayer>& layers, const std::vector<std::string>& in_file, const Hdf5Reader& file,
                 const std::string& root) {
  std::vector<std::string> known;
  for (const TfmotLayer& stored : layers) known.push_back(stored.name);
  for (const std::string& name : in_file) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const auto weights = file.texts(child_group(root, name), "weight_names");
    if (weights && weights->empty()) continue;
    throw InvalidArgument("[keras] the file holds weights of a layer '{}', which the model does not have. {}", name,
                          suggest(name, known));
  }
}

// ---- archives -------------------------------------------------------------------

size_t count_variables(const Hdf5Reader& file, const std::string& group) {
  size_t count = 0;
  while (count < kMostVariables && file.has_dataset(fmt::format("{}/vars/{}", group, count))) ++count;
  return count;
}

[[noreturn]] void refuse_order(const TfmotLayer& stored, const std::string& group, const std::string& why) {
  throw InvalidArgument(
      "[keras] {}: {}, so that it cannot be told which of the numbers in '{}' is which. Save the model as .h5, whose "
      "variables have names.",
      described(stored), why, group);
}

// Variables of the layer's points: the last of `expected`.
size_t count_ranges(const Layer& layer) {
  const auto points = graph::quantized_points(layer);
  return 2 * static_cast<size_t>(std::count_if(points.begin(), points.end(), [](const graph::QuantizedPoint& point) {
           return point.quantizer.kind != graph::AffineKind::kFixed;
         }));
}

class ArchivedLayer {
 public:
  ArchivedLayer(const Layer& layer, const TfmotLayer& stored, const Expected& expected, const Hdf5Reader& file,
                std::string group)
      : layer_(layer), stored_(stored), expected_(expected), file_(file), group_(std::move(group)) {
    ranges_ = count_ranges(layer);
    count_ = count_variables(file_, group_);
    if (count_ < ranges_ + 1) refuse_order(stored_, group_, fmt::format("it has {} variables", count_));
  }

  // In the order of `expected`.
  std::vector<graph::Weight> quantizer() const {
    check_step(count_ - 1);
    return ranges_from(count_ - 1 - ranges_);
  }

  std::vector<graph::Weight> wrapper() const {
    const size_t step = count_ - 1 - ranges_;
    check_step(step);
    std::vector<graph::Weight> weights = own_weights(step);
    for (graph::Weight& range : ranges_from(step + 1)) weights.push_back(std::move(range));
    return weights;
  }

 private:
  void check_step(size_t index) const {
    const Tensor step = file_.tensor(fmt::format("{}/vars/{}", group_, index), Shape{});
    if (step[0] != -1.0f) {
      refuse_order(stored_, group_, fmt::format("its {} is {} instead of -1", kStep, step[0]));
    }
  }

  std::vector<graph::Weight> ranges_from(size_t first) const {
    std::vector<graph::Weight> weights;
    for (size_t i = 0; i < ranges_; ++i) {
      const auto& [name, shape] = expected_[expected_.size() - ranges_ + i];
      weights.push_back({name, file_.tensor(fmt::format("{}/vars/{}", group_, first + i), shape)});
    }
    return weights;
  }

  bool is_quantized(const std::string& weight) const {
    const auto point = graph::quantized_point(layer_, weight);
    return point && point->is_weight;
  }

  // Where among the quantized weights.
  size_t position_of(const std::string& weight) const {
    const auto& all = layer_.quantization->weights;
    const auto found = std::find_if(all.begin(), all.end(), [&](const auto& each) { return each.weight == weight; });
    return static_cast<size_t>(found - all.begin());
  }

  std::vector<graph::Weight> own_weights(size_t step) const {
    const size_t own = expected_.size() - ranges_;
    const std::string inner = group_ + "/layer";
    const size_t stored = count_variables(file_, inner);
    const size_t quantized = layer_.quantization ? layer_.quantization->weights.size() : 0;
    const bool has_all = stored == own;  // of a wrapper that was never called
    if ((!has_all && stored + quantized != own) || step < quantized) {
      refuse_order(stored_, group_, fmt::format("the layer inside has {} of {} weights", stored, own));
    }
    std::vector<graph::Weight> weights;
    size_t next = 0;
    for (size_t i = 0; i < own; ++i) {
      const auto& [name, shape] = expected_[i];
      const std::string path = !has_all && is_quantized(name)
                                   ? fmt::format("{}/vars/{}", group_, step - quantized + position_of(name))
                                   : fmt::format("{}/vars/{}", inner, next++);
      weights.push_back({name, file_.tensor(path, shape)});
    }
    return weights;
  }

  const Layer& layer_;
  const TfmotLayer& stored_;
  const Expected& expected_;
  const Hdf5Reader& file_;
  std::string group_;
  size_t ranges_ = 0, count_ = 0;
};

void read_archived(Layer& layer, const TfmotLayer& stored, const Expected& expected, const Hdf5Reader& file,
                   const std::string& group) {
  switch (stored.storage) {
    case TfmotStorage::kNothing:
      return;
    case TfmotStorage::kPlain:
      return read_archive_layer(layer, expected, file, group);
    case TfmotStorage::kAnnotation:
      return read_archive_layer(layer, expected, file, group + "/layer");
    case TfmotStorage::kWrapper:
      layer.weights = ArchivedLayer(layer, stored, expected, file, group).wrapper();
      return;
    case TfmotStorage::kQuantizer:
      layer.weights = ArchivedLayer(layer, stored, expected, file, group).quantizer();
  }
}

}  // namespace

void read_tfmot_legacy(Model& model, const std::vector<TfmotLayer>& layers, const Hdf5Reader& file,
                       const std::string& root) {
  const auto in_file = file.texts(root, "layer_names");
  if (!in_file) throw CorruptFile("[keras] the file lists no layer_names; it holds no Keras weights.");
  check_names(layers, *in_file, file, root);
  const std::map<std::string, Expected> expected = expected_weights(model);
  Model loaded = model;  // all or nothing
  for (const TfmotLayer& stored : layers) {
    if (stored.storage == TfmotStorage::kNothing || expected.at(stored.layer).empty()) continue;
    Layer& layer = loaded.layer(stored.layer);
    const std::string group = child_group(root, stored.name);
    const bool has_own_names = stored.storage == TfmotStorage::kPlain || stored.storage == TfmotStorage::kAnnotation;
    if (has_own_names) {
      read_legacy_layer(layer, expected.at(stored.layer), file, group);
    } else {
      read_by_names(layer, stored, expected.at(stored.layer), file, group);
    }
  }
  model = std::move(loaded);
}

void read_tfmot_archive(Model& model, const std::vector<TfmotLayer>& layers, const Hdf5Reader& file) {
  const std::string container = archive_container(file);
  std::vector<std::pair<std::string, std::string>> classes;
  for (const TfmotLayer& stored : layers) classes.emplace_back(stored.name, stored.class_name);
  const std::map<std::string, std::string> paths = archive_paths(classes);
  const std::map<std::string, Expected> expected = expected_weights(model);
  Model loaded = model;
  for (const TfmotLayer& stored : layers) {
    if (stored.storage == TfmotStorage::kNothing || expected.at(stored.layer).empty()) continue;
    read_archived(loaded.layer(stored.layer), stored, expected.at(stored.layer), file,
                  container + "/" + paths.at(stored.name));
  }
  model = std::move(loaded);
}

}  // namespace nibble::formats::keras
