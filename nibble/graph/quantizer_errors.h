// nibble/graph/quantizer_errors.h
// A quantizer that refuses a tensor (a scale_axis that it has not, groups that do not divide an axis) does not know
// whose it is.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "nibble/core/error.h"
#include "nibble/graph/layer_schema.h"

namespace nibble::graph {

//   what     the tensor, as "kernel"; "" where it is not known
//   returns  work()
//   throws   what work() throws; of a quantizer's refusal the same with the layer's name in it
template <class Work>
auto naming_layer(const Layer& layer, std::string_view what, Work&& work) {
  try {
    return std::forward<Work>(work)();
  } catch (const InvalidArgument& error) {
    constexpr std::string_view kPrefix = "[quantizer] ";
    const std::string message = error.what();
    if (!message.starts_with(kPrefix)) throw;
    throw InvalidArgument("{}{}{}{}: {}", kPrefix, described(layer), what.empty() ? "" : ", ", what,
                          message.substr(kPrefix.size()));
  }
}

}  // namespace nibble::graph
