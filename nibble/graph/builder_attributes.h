// How the builder's options become attributes.
#pragma once

#include <optional>

#include "nibble/graph/builder.h"

namespace nibble::graph::build {

inline Attribute or_none(const std::string& text) { return text.empty() ? Attribute(None{}) : Attribute(text); }
inline Attribute or_unset(const std::vector<int64_t>& list) {
  return list.empty() ? Attribute(None{}) : Attribute(list);
}
template <class Number>
Attribute or_unset(const std::optional<Number>& number) {
  return number ? Attribute(*number) : Attribute(None{});
}

// `more` and `attributes`; of both, that of `more`.
inline Attributes with(Attributes more, Attributes attributes) {
  more.merge(attributes);
  return more;
}

}  // namespace nibble::graph::build
