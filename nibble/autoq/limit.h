// nibble/autoq/limit.h
// Which quantizers a layer may get: AutoQKeras' `limit`.
//
//   {"Dense": [8, 8, 4], "^conv2d_0$": [["binary", "ternary"], 8, 4], "BatchNormalization": [], "default": 8}
//
// A key is a layer class or a regular expression that must match from the start of a layer's name
// (not to its end: "conv_1" also catches "conv_10"; anchor with $). The first key that matches the name wins; class
// names take part in that. Without one, the layer's class decides; without that, the layer is left alone.
// A list holds [kernel, bias, activation], or what list_layout() says of the class; an element is the largest size
// allowed or a list of quantizers.
// Source: spec/autoqkeras.md section 3.
#pragma once

#include <optional>
#include <regex>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "nibble/autoq/json_fields.h"
#include "nibble/graph/model.h"

namespace nibble::autoq {

// The largest size, or quantizers by name in the order to offer.
using LimitElement = std::variant<int, std::vector<std::string>>;

struct LimitEntry {
  std::string key;
  std::vector<LimitElement> elements;
  std::regex pattern;  // of key
};

class Limit {
 public:
  Limit() = default;
  //   throws  InvalidArgument naming the key: no list, an element of another kind, an invalid regular expression
  explicit Limit(const Json& limit);

  // AutoQKeras passes over elements and keys that nothing reads. These two refuse them instead; not for compat.
  //   throws  InvalidArgument for more elements than the class has (4 for a pattern)
  void check_lengths() const;
  //   throws  InvalidArgument for a key that nothing follows from: no layer class, not "default" and matching no layer
  //           of the model (with the nearest names); a class, or layers, that a search leaves as they are; a pattern
  //           all of whose layers an earlier key has
  void check_keys(const graph::Model& model) const;

  struct Match {
    const LimitEntry* entry = nullptr;
    bool by_pattern = false;  // found by the layer's name: choices are shared by all that match
  };
  // Nothing if the layer is to be left alone.
  std::optional<Match> find(std::string_view layer_name, std::string_view class_name) const;

  const LimitEntry* entry(std::string_view key) const;  // null if absent
  bool is_empty() const { return entries_.empty(); }

  // As JSON, entries of classes completed from "default": AutoQKeras' effective limit.
  Json to_json() const;
  // As it was given.
  const Json& given() const { return given_; }

 private:
  void complete();
  void check_key(const LimitEntry& entry, const graph::Model& model) const;
  std::vector<LimitEntry> entries_;
  Json given_ = Json::object();
  Json default_;  // as given; null if absent
};

// Classes with kernels that a search quantizes: Dense, Conv2D, ..., and those with a recurrent kernel.
bool is_registered_class(std::string_view class_name);
bool is_recurrent_class(std::string_view class_name);
bool is_separable_class(std::string_view class_name);
// What the elements of a class's list are for: "[kernel, bias, activation]". Empty for a class that a search leaves as
// it is. AutoQKeras passes over lists of ReLU, LeakyReLU, average pools and BatchNormalization.
std::string_view list_layout(std::string_view class_name);
// Whether something may be chosen for the layer, or its class changes: not for Activation("softmax").
bool takes_quantizers(const graph::Layer& layer);
// All classes that a configuration may name, with and without Q.
bool is_layer_class(std::string_view name);
std::vector<std::string> layer_classes();

}  // namespace nibble::autoq
