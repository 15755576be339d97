// nibble/cost/map_builder.h
// How a data-type map is made. Private to the room: data_type_map.cc walks over the layers and knows kernels and the
// types of weights, map_layers.cc knows recurrent layers, tables, pooling and normalization.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "nibble/cost/affine_type.h"
#include "nibble/cost/data_type_map.h"
#include "nibble/cost/kernel_parts.h"

namespace nibble::cost {

// Layers in order; each reads the types its inputs have left in types_.
class MapBuilder {
 public:
  MapBuilder(const graph::Model& model, const DataTypeOptions& options)
      : model_(model), options_(options), compat_(options.compat), shapes_(graph::infer_shapes(model)) {}

  DataTypeMap build();

 private:
  void add_sources();
  std::set<std::string> output_layers() const;
  LayerTypes visit(const graph::Layer& layer);
  void add_macs(const graph::Layer& layer, LayerTypes& types);
  Mac plain_mac(const graph::Layer& layer, const KernelPart& part, const QuantizerType& input);
  void set_biases(const KernelPart& part, int64_t biases, Mac& mac) const;
  void fold_bias(const graph::Layer& layer, const KernelPart& part, Mac& mac);
  void fuse_norm(const graph::Layer& layer, const graph::Layer& norm, const KernelPart& part, Mac& mac);
  void add_recurrent(const graph::Layer& layer, LayerTypes& types);
  QuantizerType add_direction(const graph::Layer& layer, const std::string& prefix, LayerTypes& types);
  QuantizerType value_of(const graph::Layer& layer, const char* attribute) const;
  void add_lookup(const graph::Layer& layer, LayerTypes& types);
  void add_merge(const graph::Layer& layer, LayerTypes& types);
  void add_dot(const graph::Layer& layer, LayerTypes& types);
  void add_pool(const graph::Layer& layer, LayerTypes& types);
  void add_norm(const graph::Layer& layer, LayerTypes& types);
  NormTypes fused_norm(const FusedBatchNormTypes& fused) const;
  QuantizerType forwarded_output(const LayerTypes& types) const;
  QuantizerType activation_output(const graph::Layer& layer) const;
  bool has_activation(const graph::Layer& layer) const;

  // Q layers outside reference mode have their own quantizers; all others take their types from the options.
  bool is_own(const graph::Layer& layer) const {
    return is_quantized_class(layer.class_name) && !options_.for_reference;
  }
  // Plain layers may have affine quantizers, which QTools does not know.
  bool takes_affine() const { return compat_ == Compat::kNone && !options_.for_reference; }
  std::optional<QuantizerType> affine(const graph::Layer& layer, std::string_view point) const {
    return takes_affine() ? affine_type(layer, point) : std::nullopt;
  }
  QuantizerType value_type() const { return options_.keras_quantizer.value_or(default_type()); }
  QuantizerType accumulator_type() const { return options_.keras_accumulator.value_or(default_type()); }
  // The type that layers without operators give in reference mode: the two generations of the reference.
  const std::optional<QuantizerType>& carried_type() const {
    return compat_ == Compat::kQkeras2020 ? options_.keras_quantizer : options_.keras_accumulator;
  }

  std::optional<QuantizerType> own_type(const graph::Layer& layer, const std::string& attribute) const;
  QuantizerType weight_type(const graph::Layer& layer, const std::string& attribute, const std::string& weight) const;
  QuantizerType norm_type(const graph::Layer& layer, const char* attribute, const char* weight,
                          const QuantizerType& missing);
  QuantizerType set_output(const graph::Layer& layer, const QuantizerType& type) const;
  void count_values(const graph::Layer& layer, const std::string& attribute, const std::string& weight,
                    QuantizerType& type) const;
  QuantizerType widened_by_scale(const graph::Layer& layer, const KernelPart& part, const QuantizerType& product) const;
  quant::QuantizerPtr quantizer_of(const graph::Layer& layer, const std::string& attribute) const;
  // False for a weight of no name, which no layer has.
  bool looks_at(const graph::Layer& layer, const std::string& weight) const {
    if (!options_.use_weights || weight.empty()) return false;
    return !options_.weights_may_miss || layer.find_weight(weight) != nullptr;
  }
  const Tensor& weight_value(const graph::Layer& layer, const std::string& weight) const;

  // The reference has the shape of a model's input as a list of one, and takes that for a shape of nothing where a
  // layer uses its input's shape.
  bool has_listed_input(const graph::Layer& layer) const;

  // The layer whose values `name` hands out: itself, or what stands before a Dropout.
  const graph::Layer& producer(const std::string& name) const;

  const graph::Model& model_;
  const DataTypeOptions& options_;
  const Compat compat_;
  const std::map<std::string, Shape> shapes_;
  std::map<std::string, QuantizerType> types_;
  std::map<std::string, FusedBatchNormTypes> fused_;  // by the normalization's name
};

}  // namespace nibble::cost
