#include "nibble/graph/initializer.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/graph/layer_schema.h"

namespace nibble::graph {
namespace {

using nlohmann::json;

enum class Distribution { kConstant, kUniform, kNormal, kTruncatedNormal, kOrthogonal };
enum class Fan { kNone, kIn, kOut, kAverage };

struct Initializer {
  Distribution distribution = Distribution::kConstant;
  Fan fan = Fan::kNone;
  double scale = 1.0;   // of the variance; Fan other than kNone
  double center = 0.0;  // constant, mean, or middle of the range
  double spread = 0.0;  // standard deviation, or half the range
};

struct Row {
  const char* name;
  const char* class_name;
  const char* config;
  Initializer value;
};

using enum Distribution;
const Row kRows[] = {
    {"constant", "Constant", R"({"value": 0.0})", {}},
    {"glorot_normal", "GlorotNormal", R"({"seed": null})", {kTruncatedNormal, Fan::kAverage, 1.0}},
    {"glorot_uniform", "GlorotUniform", R"({"seed": null})", {kUniform, Fan::kAverage, 1.0}},
    {"he_normal", "HeNormal", R"({"seed": null})", {kTruncatedNormal, Fan::kIn, 2.0}},
    {"he_uniform", "HeUniform", R"({"seed": null})", {kUniform, Fan::kIn, 2.0}},
    {"lecun_normal", "LecunNormal", R"({"seed": null})", {kTruncatedNormal, Fan::kIn, 1.0}},
    {"lecun_uniform", "LecunUniform", R"({"seed": null})", {kUniform, Fan::kIn, 1.0}},
    {"ones", "Ones", "{}", {kConstant, Fan::kNone, 1.0, 1.0}},
    {"orthogonal", "Orthogonal", R"({"gain": 1.0, "seed": null})", {kOrthogonal, Fan::kNone, 1.0, 0.0, 1.0}},
    {"random_normal",
     "RandomNormal",
     R"({"mean": 0.0, "stddev": 0.05, "seed": null})",
     {kNormal, Fan::kNone, 1.0, 0.0, 0.05}},
    {"random_uniform",
     "RandomUniform",
     R"({"minval": -0.05, "maxval": 0.05, "seed": null})",
     {kUniform, Fan::kNone, 1.0, 0.0, 0.05}},
    {"truncated_normal",
     "TruncatedNormal",
     R"({"mean": 0.0, "stddev": 0.05, "seed": null})",
     {kTruncatedNormal, Fan::kNone, 1.0, 0.0, 0.05}},
    {"variance_scaling",
     "VarianceScaling",
     R"({"scale": 1.0, "mode": "fan_in", "distribution": "truncated_normal", "seed": null})",
     {kTruncatedNormal, Fan::kIn, 1.0}},
    {"zeros", "Zeros", "{}", {}},
};

const Row* find_row(std::string_view name_or_class) {
  for (const Row& row : kRows) {
    if (row.name == name_or_class || row.class_name == name_or_class) return &row;
  }
  return nullptr;
}

double number(const json& config, const char* key, double otherwise) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return otherwise;
  const double value = found->is_number() ? found->get<double>() : NAN;
  if (std::isfinite(value)) return value;
  throw InvalidArgument("[initialize_weights] initializer parameter '{}' is {}, but must be a finite number.", key,
                        found->dump());
}

Distribution distribution_of(const std::string& name) {
  if (name == "uniform") return kUniform;
  if (name == "normal" || name == "truncated_normal") return kTruncatedNormal;  // Keras takes them for the same
  if (name == "untruncated_normal") return kNormal;
  throw InvalidArgument(
      "[initialize_weights] distribution '{}' is unknown. Known: uniform, truncated_normal, "
      "untruncated_normal.",
      name);
}

Fan fan_of(const std::string& mode) {
  if (mode == "fan_in") return Fan::kIn;
  if (mode == "fan_out") return Fan::kOut;
  if (mode == "fan_avg") return Fan::kAverage;
  throw InvalidArgument("[initialize_weights] mode '{}' is unknown. Known: fan_in, fan_out, fan_avg.", mode);
}

Initializer from_object(const json& object) {
  const std::string class_name = object.value("class_name", "");
  const Row* row = find_row(class_name);
  if (!row) {
    throw Unsupported("[initialize_weights] the initializer class '{}' is not known; known are {}.", class_name,
                      fmt::join(known_initializers(), ", "));
  }
  Initializer result = row->value;
  const json config = object.value("config", json::object());
  const std::string_view name = row->name;
  if (name == "orthogonal") result.spread = number(config, "gain", 1.0);
  if (name == "constant") result.center = number(config, "value", 0.0);
  if (name == "random_normal" || name == "truncated_normal") {
    result.center = number(config, "mean", 0.0);
    result.spread = number(config, "stddev", 0.05);
  }
  if (name == "random_uniform") {
    const double low = number(config, "minval", -0.05), high = number(config, "maxval", 0.05);
    result.center = (low + high) / 2;
    result.spread = (high - low) / 2;
  }
  if (name == "variance_scaling") {
    result.scale = number(config, "scale", 1.0);
    result.fan = fan_of(config.value("mode", "fan_in"));
    result.distribution = distribution_of(config.value("distribution", "truncated_normal"));
  }
  return result;
}

Initializer parse(const Attribute& initializer) {
  if (const auto* name = std::get_if<std::string>(&initializer)) {
    if (const Row* row = find_row(*name)) return row->value;
    throw InvalidArgument("[initialize_weights] unknown initializer '{}'. {}", *name,
                          suggest(*name, known_initializers()));
  }
  const auto* opaque = std::get_if<OpaqueJson>(&initializer);
  if (!opaque) {
    throw InvalidArgument("[initialize_weights] {} is no initializer.", to_string(initializer));
  }
  try {
    json object = json::parse(opaque->text);
    // QInitializer wraps the real one; what it adds is done by draw_quantized_initial.
    if (object.value("class_name", "") == "QInitializer") object = object.at("config").at("initializer");
    return from_object(object);
  } catch (const json::exception& error) {
    throw InvalidArgument("[initialize_weights] the initializer {} cannot be read: {}", opaque->text, error.what());
  }
}

double fan(Fan which, const Shape& shape) {
  double in = 1, out = 1;
  if (shape.rank() == 1) in = out = static_cast<double>(shape[0]);
  if (shape.rank() >= 2) {
    double field = 1;
    for (int axis = 0; axis + 2 < shape.rank(); ++axis) field *= static_cast<double>(shape[axis]);
    in = field * static_cast<double>(shape[-2]);
    out = field * static_cast<double>(shape[-1]);
  }
  const double chosen = which == Fan::kIn ? in : which == Fan::kOut ? out : (in + out) / 2;
  return std::max(1.0, chosen);
}

// Standard deviation of a normal cut at two standard deviations.
constexpr double kTruncatedDeviation = 0.87962566103423978;

double spread_of(const Initializer& initializer, const Shape& shape) {
  if (initializer.fan == Fan::kNone) return initializer.spread;
  const double variance = initializer.scale / fan(initializer.fan, shape);
  switch (initializer.distribution) {
    case kUniform:
      return std::sqrt(3 * variance);
    case kTruncatedNormal:
      return std::sqrt(variance) / kTruncatedDeviation;
    default:
      return std::sqrt(variance);
  }
}

double draw_one(Distribution distribution, RandomStream& random) {
  switch (distribution) {
    case kConstant:
      return 0;
    case kUniform:
      return 2 * random.uniform_double() - 1;
    case kNormal:
      return random.normal();
    case kTruncatedNormal:
    case kOrthogonal:
      break;
  }
  double value = random.normal();
  while (std::abs(value) > 2) value = random.normal();
  return value;
}

// `count` vectors of `length` >= count numbers, orthonormal: normal draws by Gram and Schmidt, twice, which is as good
// as Householder's way (W. Hoffmann, 1989). [count * length]
std::vector<double> orthonormal(size_t count, size_t length, RandomStream& random) {
  std::vector<double> vectors(count * length);
  for (double& value : vectors) value = random.normal();
  for (size_t v = 0; v < count; ++v) {
    double* vector = vectors.data() + v * length;
    for (size_t pass = 0; pass < 2; ++pass) {
      for (size_t other = 0; other < v; ++other) {
        const double* before = vectors.data() + other * length;
        const double along = std::inner_product(vector, vector + length, before, 0.0);
        for (size_t i = 0; i < length; ++i) vector[i] -= along * before[i];
      }
    }
    const double norm = std::sqrt(std::inner_product(vector, vector + length, vector, 0.0));
    for (size_t i = 0; i < length; ++i) vector[i] /= norm;
  }
  return vectors;
}

// The matrix of all axes but the last times the last has orthonormal rows or columns, whichever are fewer.
Tensor draw_orthogonal(double gain, const Shape& shape, RandomStream& random) {
  if (shape.rank() < 2) {
    throw InvalidArgument("[initialize_weights] the initializer orthogonal needs a weight of 2 axes or more, not {}.",
                          shape.str());
  }
  Tensor values(shape);
  const auto columns = static_cast<size_t>(shape[-1]), rows = static_cast<size_t>(values.size()) / columns;
  const std::vector<double> vectors = orthonormal(std::min(rows, columns), std::max(rows, columns), random);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < columns; ++c) {
      const double value = rows < columns ? vectors[r * columns + c] : vectors[c * rows + r];
      values[static_cast<int64_t>(r * columns + c)] = static_cast<float>(gain * value);
    }
  }
  return values;
}

Tensor draw(const Initializer& initializer, const Shape& shape, RandomStream& random) {
  if (initializer.distribution == kOrthogonal) return draw_orthogonal(initializer.spread, shape, random);
  Tensor values(shape);
  const double spread = spread_of(initializer, shape);
  for (float& value : values.data()) {
    value = static_cast<float>(initializer.center + spread * draw_one(initializer.distribution, random));
  }
  return values;
}

double deviation(const Tensor& x) {
  double sum = 0, squares = 0;
  for (float value : x.data()) {
    sum += value;
    squares += static_cast<double>(value) * value;
  }
  const auto n = static_cast<double>(x.size());
  return std::sqrt(std::max(0.0, squares / n - (sum / n) * (sum / n)));
}

// By how much the initializer's scale grows so that quantization leaves something of the draw.
double growth(const Tensor& x, const Tensor& quantized, double max) {
  double qq = 0, qx = 0, xx = 0;
  for (int64_t i = 0; i < x.size(); ++i) {
    qq += static_cast<double>(quantized[i]) * quantized[i];
    qx += static_cast<double>(quantized[i]) * x[i];
    xx += static_cast<double>(x[i]) * x[i];
  }
  const double factor = qq == 0 ? max / std::sqrt(xx / static_cast<double>(x.size())) : qq / qx;
  return std::isfinite(factor) ? std::max(factor, 1.0) : 1.0;
}

}  // namespace

std::vector<std::string> known_initializers() {
  std::vector<std::string> names;
  for (const Row& row : kRows) names.push_back(row.name);
  return names;
}

Tensor draw_initial(const Attribute& initializer, const Shape& shape, RandomStream& random) {
  return draw(parse(initializer), shape, random);
}

Tensor draw_quantized_initial(const Attribute& initializer, const Shape& shape, const quant::Quantizer& quantizer,
                              RandomStream& random) {
  Initializer plain = parse(initializer);
  Tensor x = draw(plain, shape, random);
  if (plain.distribution == kConstant || x.size() == 0) return x;
  const double max = quantizer.max();
  const double delta = std::ldexp(max, -quantizer.bit_width());
  if (plain.fan != Fan::kNone && delta > deviation(x)) {
    plain.scale *= growth(x, quantizer.quantize(x).real, max);
    x = draw(plain, shape, random);
  }
  const auto limit = static_cast<float>(max);
  for (float& value : x.data()) value = std::min(std::max(value, -limit), limit);
  return x;
}

bool wraps_initializer(const Attribute& initializer, const quant::Quantizer& quantizer) {
  const json config = quantizer.config();
  const auto alpha = config.find("alpha");
  if (alpha != config.end() && alpha->is_string()) return false;
  return parse(initializer).distribution != kConstant;
}

json initializer_config(const std::string& name) {
  const Row* row = find_row(name);
  if (!row) throw InvalidArgument("[graph] unknown initializer '{}'. {}", name, suggest(name, known_initializers()));
  return {{"module", "keras.initializers"},
          {"class_name", row->class_name},
          {"config", json::parse(row->config)},
          {"registered_name", nullptr}};
}

std::string initializer_name(const json& object) {
  if (!object.is_object() || !object.contains("class_name") || !object["class_name"].is_string()) return "";
  const Row* row = find_row(object["class_name"].get<std::string>());
  if (!row || row->class_name != object["class_name"].get<std::string>()) return "";
  return object.value("config", json::object()) == json::parse(row->config) ? row->name : "";
}

}  // namespace nibble::graph
