// nibble/quant/quantizer.h
// What every quantizer can do and answer.
//
// A quantizer maps real values to the few values that a small integer code can
// name, and passes gradients through by its own rule (straight-through, Bengio et
// al. 2013, unless its page says otherwise). The scalar code behind this interface
// defines value and gradient; nibble/kernels has faster twins tested against it.
// Behaviour follows QKeras (spec/qkeras.md section 2); every deliberate difference
// is a row of docs/differences.md.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/core/call_expression.h"
#include "nibble/core/philox.h"
#include "nibble/core/tensor.h"

namespace nibble::quant {

// Stochastic quantizers draw in training only (bernoulli in both).
enum class Phase { kInference, kTraining };

// The sigmoid inside tanh, sigmoid, ulaw and relu(use_sigmoid) quantizers.
// The reference has it as a process-wide switch; here it is an argument.
enum class InternalSigmoid { kHard, kSmooth, kReal };

struct QuantizeOptions {
  Phase phase = Phase::kInference;
  RandomKey random{.purpose = RandomPurpose::kQuantizer};  // used by stochastic ones only
  InternalSigmoid internal_sigmoid = InternalSigmoid::kHard;
  // QKeras' order of operations to the bit: it returns x + (q - x), which loses small steps of huge inputs and
  // makes infinities NaN, and takes floor(log2) from float32 logarithms. Otherwise q itself is returned, so that
  // scale * (code - zero_point) is exactly the trained value. Golden rows are compared with this set.
  bool reference_arithmetic = false;
};

struct Quantized {
  Tensor real;   // quantized values, x's shape
  Tensor scale;  // QKeras' scale attribute: rank 0, or x's rank with 1 on the reduced axes
};

// Integer codes of a tensor.
//   kAffine      real = scale * (code - zero_point)
//   kPowerOfTwo  real = sign * scale * 2^code; zero_point is 0
struct Encoded {
  enum class Kind { kAffine, kPowerOfTwo };
  Kind kind = Kind::kAffine;
  std::vector<int32_t> codes;  // x's elements in order
  std::vector<int8_t> signs;   // kPowerOfTwo only: -1 or +1 per element
  Tensor scale;                // broadcasts to x's shape
  int32_t zero_point = 0;
  int bit_width = 0;  // bits per code (sign included)
  bool is_signed = true;
  bool scale_is_power_of_two = true;  // every scale is an exact power of two: a shift in hardware
};

// The kind of number that comes out, for cost models and integer runtimes.
struct NumericFormat {
  enum class Kind { kFixedPoint, kPowerOfTwo, kTernary, kBinary, kBinary01, kFloat };
  Kind kind = Kind::kFixedPoint;
  int bit_width = 0;
  int integer_bits = 0;  // sign excluded, as QKeras' `integer`
  bool is_signed = true;
  std::optional<double> max_value;  // kPowerOfTwo only
};

class Quantizer;
using QuantizerPtr = std::shared_ptr<const Quantizer>;  // immutable, so sharing is safe

class Quantizer {
 public:
  virtual ~Quantizer() = default;

  // QKeras' name, e.g. "quantized_bits".
  virtual std::string_view class_name() const = 0;

  // Values and scale. Scales found from data ("auto", "auto_po2") use the last axis
  // as the channel unless scale_axis says otherwise.
  //   x       any shape; NaN passes through
  virtual Quantized quantize(const Tensor& x, const QuantizeOptions& options = {}) const = 0;

  // d sum(upstream * quantize(x)) / dx by the quantizer's gradient rule.
  //   upstream  x's shape
  virtual Tensor gradient(const Tensor& x, const Tensor& upstream, const QuantizeOptions& options = {}) const = 0;

  // Codes of quantize(x).real in the inference phase: decoding them gives exactly those values.
  //   throws  Unsupported where values do not lie on a uniform or power-of-two grid
  virtual Encoded encode(const Tensor& x) const = 0;

  virtual NumericFormat format() const = 0;
  int bit_width() const { return format().bit_width; }
  bool is_signed() const { return format().is_signed; }

  // QKeras' max() and min(): bounds used by clip constraints, not always representable.
  virtual double max() const = 0;
  virtual double min() const = 0;

  // All representable values in two's complement order of their codes.
  //   throws  InvalidArgument for quantizers without a fixed finite set
  virtual std::vector<float> range() const = 0;

  // QKeras' printed form, character for character.
  virtual std::string qkeras_str() const = 0;
  // A text that get_quantizer() turns back into an equal quantizer: every parameter that is
  // not at its default, by keyword where position would be ambiguous.
  virtual std::string str() const = 0;

  // {"bits": 4, ...}: every constructor argument, as get_config() of the reference plus
  // the ones it forgets.
  virtual nlohmann::json config() const = 0;

  // The quantizer a layer really uses for its weights: alpha None becomes "auto_po2" (and
  // symmetric), spec/qkeras.md section 4. Others return themselves unchanged.
  virtual QuantizerPtr as_weight_quantizer() const = 0;

  // True if values depend on random numbers in the training phase.
  virtual bool is_stochastic() const { return false; }
};

bool operator==(const Quantizer& a, const Quantizer& b);  // same class and config

// ---- the registry ----------------------------------------------------------

// Makes a quantizer from text: "quantized_bits(4,0,1)", "binary".
//   throws  InvalidArgument naming the text, what is wrong, and the nearest known name
QuantizerPtr get_quantizer(std::string_view text);

// Makes a quantizer from a class name and config(), as found in Keras files. Unknown keys
// are refused, except those the reference writes without effect.
QuantizerPtr quantizer_from_config(std::string_view class_name, const nlohmann::json& config);

// True for plain activation functions that stand where a quantizer may stand:
// relu, tanh, sigmoid, softmax, linear, ...
bool is_activation_function(std::string_view name);

// Adds a user's own quantizer; `make` receives the parsed call.
using QuantizerFactory = QuantizerPtr (*)(const CallExpression& call);
void register_quantizer(std::string name, QuantizerFactory make);
std::vector<std::string> known_quantizers();  // sorted

}  // namespace nibble::quant
