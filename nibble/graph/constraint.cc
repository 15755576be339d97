#include "nibble/graph/constraint.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/graph/layer_schema.h"

namespace nibble::graph {
namespace {

using nlohmann::json;

// A Keras object in an attribute: {"class_name", "config"}, or its name alone.
struct KerasObject {
  std::string name;
  json config = json::object();

  double number(const char* key, double fallback) const {
    const auto found = config.find(key);
    return found != config.end() && found->is_number() ? found->get<double>() : fallback;
  }
};

// "MaxNorm" and "max_norm" are the same.
std::string folded(const std::string& name) {
  std::string result;
  for (const char c : name) {
    if (c != '_') result += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return result;
}

KerasObject object_of(const Layer& layer, const std::string& attribute) {
  const auto found = layer.attributes.find(attribute);
  if (found == layer.attributes.end()) return {};
  if (const auto* text = std::get_if<std::string>(&found->second)) return {folded(*text)};
  const auto* opaque = std::get_if<OpaqueJson>(&found->second);
  if (opaque == nullptr) return {};
  const json parsed = json::parse(opaque->text, nullptr, /*allow_exceptions=*/false);
  if (parsed.is_string()) return {folded(parsed.get<std::string>())};
  const json name = parsed.is_object() ? parsed.value("class_name", json()) : json();
  if (!name.is_string()) return {std::string(1, '?')};
  const json config = parsed.value("config", json());
  return {folded(name.get<std::string>()), config.is_object() ? config : json::object()};
}

[[noreturn]] void refuse(const Layer& layer, const std::string& attribute, const char* known) {
  throw Unsupported("[graph] {}: attribute '{}' is {}, which nibble cannot apply; it can apply {}.", described(layer),
                    attribute, to_string(layer.attributes.at(attribute)), known);
}

std::vector<int64_t> axes_of(const KerasObject& object) {
  const auto found = object.config.find("axis");
  if (found == object.config.end() || found->is_null()) return {0};
  if (found->is_number_integer()) return {found->get<int64_t>()};
  std::vector<int64_t> axes;
  for (const json& axis : *found) {
    if (axis.is_number_integer()) axes.push_back(axis.get<int64_t>());
  }
  return axes;
}

// Index of the norm that an element belongs to: its position without the axes that the norm is taken over.
class NormLayout {
 public:
  NormLayout(const Shape& shape, const std::vector<int64_t>& axes) : shape_(shape), reduced_(shape.extents().size()) {
    for (const int64_t axis : axes) {
      const int64_t position = axis < 0 ? axis + shape.rank() : axis;
      if (position >= 0 && position < shape.rank()) reduced_[static_cast<size_t>(position)] = true;
    }
    for (int axis = 0; axis < shape.rank(); ++axis) count_ *= reduced_[static_cast<size_t>(axis)] ? 1 : shape[axis];
  }

  int64_t count() const { return count_; }

  int64_t index(int64_t element) const {
    int64_t result = 0, stride = 1;
    for (int axis = shape_.rank() - 1; axis >= 0; --axis) {
      const int64_t position = element % shape_[axis];
      element /= shape_[axis];
      if (reduced_[static_cast<size_t>(axis)]) continue;
      result += position * stride;
      stride *= shape_[axis];
    }
    return result;
  }

 private:
  Shape shape_;
  std::vector<bool> reduced_;
  int64_t count_ = 1;
};

double wanted_norm(const Constraint& constraint, double norm) {
  switch (constraint.kind) {
    case Constraint::Kind::kUnitNorm:
      return 1.0;
    case Constraint::Kind::kMaxNorm:
      return std::min(norm, constraint.maximum);
    default:
      return constraint.rate * std::clamp(norm, constraint.minimum, constraint.maximum) +
             (1.0 - constraint.rate) * norm;
  }
}

void constrain_norms(const Constraint& constraint, const Shape& shape, std::span<float> values) {
  constexpr double kEpsilon = 1e-7;  // Keras'
  const NormLayout layout(shape, constraint.axes);
  std::vector<double> norms(static_cast<size_t>(layout.count()), 0.0);
  for (size_t i = 0; i < values.size(); ++i) {
    norms[static_cast<size_t>(layout.index(static_cast<int64_t>(i)))] += static_cast<double>(values[i]) * values[i];
  }
  for (double& norm : norms) norm = wanted_norm(constraint, std::sqrt(norm)) / (kEpsilon + std::sqrt(norm));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(values[i] * norms[static_cast<size_t>(layout.index(static_cast<int64_t>(i)))]);
  }
}

}  // namespace

Constraint constraint_of(const Layer& layer, const std::string& attribute) {
  using Kind = Constraint::Kind;
  const KerasObject object = object_of(layer, attribute);
  if (object.name.empty()) return {};
  if (object.name == "clip") {
    const double maximum = object.number("max_value", 1.0);
    return {Kind::kClip, object.number("min_value", -maximum), maximum};
  }
  if (object.name == "nonneg") return {Kind::kNonNeg};
  if (object.name == "unitnorm") return {Kind::kUnitNorm, 0, 0, 1, axes_of(object)};
  if (object.name == "maxnorm") return {Kind::kMaxNorm, 0, object.number("max_value", 2.0), 1, axes_of(object)};
  if (object.name == "minmaxnorm") {
    return {Kind::kMinMaxNorm, object.number("min_value", 0.0), object.number("max_value", 1.0),
            object.number("rate", 1.0), axes_of(object)};
  }
  refuse(layer, attribute, "Clip, MaxNorm, NonNeg, UnitNorm and MinMaxNorm");
}

Constraint automatic_constraint(const quant::Quantizer& quantizer) {
  const double bound = std::max(1.0, quantizer.max());
  return {Constraint::Kind::kClip, -bound, bound};
}

void apply_constraint(const Constraint& constraint, const Shape& shape, std::span<float> values) {
  switch (constraint.kind) {
    case Constraint::Kind::kNone:
      return;
    case Constraint::Kind::kClip: {
      const auto low = static_cast<float>(constraint.minimum), high = static_cast<float>(constraint.maximum);
      for (float& value : values) value = std::min(std::max(value, low), high);
      return;
    }
    case Constraint::Kind::kNonNeg:
      for (float& value : values) value = std::max(value, 0.0f);
      return;
    default:
      constrain_norms(constraint, shape, values);
  }
}

bool knows_regularizer(const Layer& layer, const std::string& attribute) {
  const std::string name = object_of(layer, attribute).name;
  return name.empty() || name == "l1" || name == "l2" || name == "l1l2";
}

Regularizer regularizer_of(const Layer& layer, const std::string& attribute) {
  constexpr double kDefault = 0.01;
  const KerasObject object = object_of(layer, attribute);
  if (object.name.empty()) return {};
  if (object.name == "l1") return {object.number("l1", kDefault), 0.0};
  if (object.name == "l2") return {0.0, object.number("l2", kDefault)};
  // Keras writes L1L2 for all three; its own defaults are 0.
  if (object.name == "l1l2") return {object.number("l1", 0.0), object.number("l2", 0.0)};
  refuse(layer, attribute, "L1, L2 and L1L2");
}

}  // namespace nibble::graph
