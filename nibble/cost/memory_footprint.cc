#include "nibble/cost/memory_footprint.h"

#include <algorithm>
#include <map>
#include <set>

#include "nibble/cost/affine_type.h"
#include "nibble/cost/assumed_types.h"
#include "nibble/cost/model_bits.h"
#include "nibble/cost/saturated.h"

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
        if (i < tensor.born || i > tensor.last) continue;
        steps_[i].living_bits = saturated_sum(steps_[i].living_bits, tensor.bits);
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
      add_input(layer.name);
      return;
    }
    widths_[layer.name] = width_of(layer, kind);
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
    reads_[layer.name] = {
        store(types == nullptr ? 0 : saturated_product(types->output_shape.elements(), widths_[layer.name]), step)};
  }

  size_t store(int64_t bits, size_t step) {
    tensors_.push_back({.bits = bits, .born = step, .last = step});
    return tensors_.size() - 1;
  }

  void add_input(const std::string& name) {
    int64_t bits = 0;
    if (const auto found = std::find(map_.inputs.begin(), map_.inputs.end(), name); found != map_.inputs.end()) {
      const auto i = static_cast<size_t>(found - map_.inputs.begin());
      widths_[name] = map_.sources[i].bit_width;
      bits = map_.source_shapes[i].elements() * widths_[name];
    }
    reads_[name] = {store(bits, 0)};
  }

  // True if the layer computes nothing: its elements are those of its inputs.
  static bool picks_from_inputs(const Layer& layer, LayerKind kind) {
    return keeps_its_input(kind) || kind == LayerKind::kMaxPooling || kind == LayerKind::kUpSampling ||
           kind == LayerKind::kOther || layer.class_name == "Concatenate";
  }

  // Bits of one element that is stored. Where a plain activation stands, the map has the accumulator before it; and
  // hands that on to layers that pick from its values.
  int64_t width_of(const Layer& layer, LayerKind kind) {
    if (has_plain_activation(layer)) {
      holds_values_.insert(layer.name);
      return value_bits_;
    }
    const LayerTypes* types = map_.find(layer.name);
    const int64_t mapped = types == nullptr ? 0 : types->output.bit_width;
    if (!picks_from_inputs(layer, kind) || affine_output_type(layer)) return mapped;
    int64_t widest = 0;
    bool from_values = false;
    for (const std::string& input : layer.inputs) {
      widest = std::max(widest, widths_[input]);
      from_values |= holds_values_.contains(input);
    }
    if (from_values) holds_values_.insert(layer.name);
    return from_values || types == nullptr ? widest : mapped;
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
  std::map<std::string, int64_t> widths_;          // by layer, of an element of its output
  std::set<std::string> holds_values_;             // layers whose widths follow from value_bits_
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
