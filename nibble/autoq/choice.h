// nibble/autoq/choice.h
// One question of a search: which quantizer for this field of this layer? Private to autoq/.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nibble/autoq/run_config.h"
#include "nibble/graph/model.h"

namespace nibble::autoq {

enum class Field {
  kKernel,
  kRecurrentKernel,
  kPointwiseKernel,
  kBias,
  kActivation,
  kRecurrentActivation,
  kLinear,
  // Not AutoQKeras':
  kLeakyActivation,
  kAverage,         // 1 / area of an average pool
  kPoolActivation,  // what an average pool gives
  kGamma,
  kBeta,
  kMean,
  kVariance,
};

// Answers with one of the candidates.
using Chooser = std::function<std::string(const std::string& name, const std::vector<std::string>& candidates)>;

// Whether a quantizer can stand for this field at all; candidates of a size that cannot are not offered.
using Suits = std::function<bool(const std::string& quantizer)>;

// Makes the choices of one trial; choices of a pattern are asked for once and shared.
class QuantizerChoices {
 public:
  QuantizerChoices(const RunConfig& config, Chooser choose) : config_(config), choose_(std::move(choose)) {}

  // Nothing if the limit does not cover the layer.
  //   throws  InvalidArgument where the limit leaves no candidate
  std::optional<std::string> choose(const graph::Layer& layer, Field field, const Suits& suits = nullptr);

  std::string choose_filters(const std::string& name);

 private:
  const RunConfig& config_;
  Chooser choose_;
  std::map<std::pair<std::string, int>, std::string> shared_;  // (pattern, field) -> choice
};

}  // namespace nibble::autoq
