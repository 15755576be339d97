#include "nibble/cost/memory_footprint.h"

#include <algorithm>
#include <map>
#include <set>

#include "nibble/cost/affine_type.h"
#include "nibble/cost/model_bits.h"

namespace nibble::cost {
namespace {

using graph::Layer;

// A stored tensor, alive from step `born` to step `last`.
struct Stored {
  int64_t bits = 0;
  size_t born = 0, last = 0;
};

class Liveness {
 public:
  Liveness(const graph::Model& model, const DataTypeOptions& options)
      : model_(model),
        map_(data_type_map(model, options)),
        value_bits_(options.keras_quantizer.value_or(default_type()).bit_width) {}

  std::vector<MemoryStep> run() {
    for (const Layer& layer : model_.layers) visit(layer);
    for (const std::string& output : model_.outputs) {
      for (const size_t tensor : reads_[output]) tensors_[tensor].last = steps_.empty() ? 0 : steps_.size() - 1;
    }
    for (size_t i = 0; i < steps_.size(); ++i) {
      for (const Stored& tensor : tensors_) {
        if (tensor.born <= i && i <= tensor.last) steps_[i].living_bits += tensor.bits;
      }
    }
    return std::move(steps_);
  }

 private:
  static LayerKind kind_of(const Layer& layer) { return layer_kind(layer.class_name, Compat::kNone); }
  static bool keeps_its_input(LayerKind kind) { return kind == LayerKind::kDropout || kind == LayerKind::kReshaping; }
  static bool is_elementwise(LayerKind kind) {
    return kind == LayerKind::kActivation || kind == LayerKind::kBatchNormalization;
  }

  // What has to be alive where the layer's value is read: its own tensor, or those that it is computed from.
  void visit(const Layer& layer) {
    const LayerKind kind = kind_of(layer);
    if (kind == LayerKind::kInput) {
      reads_[layer.name] = {store(input_bits(layer.name), 0)};
      return;
    }
    std::set<size_t> read;
    for (const std::string& input : layer.inputs) read.insert(reads_[input].begin(), reads_[input].end());
    if (keeps_its_input(kind) || runs_inside_the_next(layer)) {
      reads_[layer.name] = std::move(read);
      return;
    }
    const size_t step = steps_.size();
    steps_.push_back({.layer = layer.name});
    for (const size_t tensor : read) tensors_[tensor].last = step;
    const LayerTypes* types = map_.find(layer.name);
    const bool is_plain =
        kind == LayerKind::kActivation && !is_quantized_class(layer.class_name) && !affine_output_type(layer);
    const int64_t width = types == nullptr ? 0 : is_plain ? value_bits_ : types->output.bit_width;
    reads_[layer.name] = {store(types == nullptr ? 0 : types->output_shape.elements() * width, step)};
  }

  size_t store(int64_t bits, size_t step) {
    tensors_.push_back({.bits = bits, .born = step, .last = step});
    return tensors_.size() - 1;
  }

  int64_t input_bits(const std::string& name) const {
    const auto found = std::find(map_.inputs.begin(), map_.inputs.end(), name);
    if (found == map_.inputs.end()) return 0;
    const auto i = static_cast<size_t>(found - map_.inputs.begin());
    return map_.source_shapes[i].elements() * map_.sources[i].bit_width;
  }

  bool is_output(const std::string& name) const {
    return std::find(model_.outputs.begin(), model_.outputs.end(), name) != model_.outputs.end();
  }

  // True if the only reader, past layers that keep their input, works element by element.
  bool runs_inside_the_next(const Layer& layer) const {
    for (const Layer* at = &layer;;) {
      if (is_output(at->name)) return false;
      const std::vector<std::string> readers = model_.consumers(at->name);
      if (readers.size() != 1) return false;
      at = model_.find_layer(readers[0]);
      if (is_elementwise(kind_of(*at))) return true;
      if (!keeps_its_input(kind_of(*at))) return false;
    }
  }

  const graph::Model& model_;
  const DataTypeMap map_;
  const int64_t value_bits_;  // of an activation without a quantizer
  std::vector<Stored> tensors_;
  std::vector<MemoryStep> steps_;
  std::map<std::string, std::set<size_t>> reads_;  // by layer
};

}  // namespace

MemoryFootprint memory_footprint(const graph::Model& model, const DataTypeOptions& options) {
  MemoryFootprint footprint;
  footprint.weight_bits = count_bits(model).parameters;
  footprint.steps = Liveness(model, options).run();
  for (const MemoryStep& step : footprint.steps) {
    if (step.living_bits <= footprint.peak_bits) continue;
    footprint.peak_bits = step.living_bits;
    footprint.peak_layer = step.layer;
  }
  return footprint;
}

}  // namespace nibble::cost
