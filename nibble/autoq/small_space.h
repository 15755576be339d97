// nibble/autoq/small_space.h
// For tests of search spaces: a network of two layers with weights, a run_config with short tables, and assignments.
#pragma once

#include <fmt/format.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "nibble/autoq/run_config.h"
#include "nibble/autoq/search_space.h"

namespace nibble::autoq {

// input -> conv (relu inside, bias) -> Activation linear -> flatten -> head (softmax inside)
inline graph::Model small_model() {
  graph::Model model;
  const auto add = [&](std::string class_name, std::string name, std::map<std::string, graph::Attribute> attributes) {
    graph::Layer layer = graph::make_layer(std::move(class_name), std::move(name), std::move(attributes));
    if (!model.layers.empty()) layer.inputs = {model.layers.back().name};
    model.layers.push_back(std::move(layer));
  };
  add("InputLayer", "input", {{"shape", std::vector<int64_t>{8, 8, 1}}});
  add("Conv2D", "bias_conv",
      {{"filters", int64_t{4}}, {"kernel_size", std::vector<int64_t>{3, 3}}, {"activation", std::string("relu")}});
  add("Activation", "lin", {{"activation", std::string("linear")}});
  add("Flatten", "flatten", {});
  add("Dense", "head", {{"units", int64_t{3}}, {"activation", std::string("softmax")}});
  model.inputs = {"input"};
  model.outputs = {"head"};
  return model;
}

inline constexpr const char* kTables = R"j("quantization_config": {
  "kernel": {"binary": 1, "quantized_bits(4,0,1)" : 4
}
, "bias" : {"quantized_bits(8,3,1)" : 8},
           "activation" : {"quantized_relu(2)" : 2, "quantized_relu(3)" : 3},
                          "linear" : {
  "quantized_bits(4,1)" : 4
}
})j";

inline RunConfig config_with(const std::string& keys) {
  return parse_run_config(fmt::format("{{{}, {}}}", kTables, keys));
}

inline std::vector<std::string> names_of(const search::SearchSpace& space) {
  std::vector<std::string> names;
  for (const search::Parameter& parameter : space) names.push_back(parameter.name);
  return names;
}

inline search::Assignment last_of(const search::SearchSpace& space) {
  search::Assignment values;
  for (const search::Parameter& parameter : space) values[parameter.name] = parameter.candidates.back();
  return values;
}

inline search::Assignment first_of(const search::SearchSpace& space) {
  search::Assignment values;
  for (const search::Parameter& parameter : space) values[parameter.name] = parameter.candidates.front();
  return values;
}

using Names = std::vector<std::string>;

}  // namespace nibble::autoq
