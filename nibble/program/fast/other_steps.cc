// The input, pools, elementwise operations and copies.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "nibble/kernels/integer/float_codes.h"
#include "nibble/kernels/integer/pools.h"
#include "nibble/kernels/integer/scaled_sums.h"
#include "nibble/program/fast/input_plan.h"
#include "nibble/program/fast/step.h"

namespace nibble::program {

using kernels::RequantizationKind;

std::string_view name_of(RequantizationKind kind) {
  switch (kind) {
    case RequantizationKind::kNone:
      return "as they are";
    case RequantizationKind::kLinear:
      return "linear";
    case RequantizationKind::kCorrected:
      return "linear and one comparison";
    case RequantizationKind::kSelect:
      return "few comparisons";
    case RequantizationKind::kSearch:
      break;
  }
  return "bisection";
}

namespace {

int64_t load(const uint8_t* data, const TensorLayout& l, int64_t place) {
  if (!l.is_wide) return kernels::load_code(data, l.format, place);
  int64_t integer = 0;
  std::memcpy(&integer, data + place * static_cast<int64_t>(sizeof(integer)), sizeof(integer));
  return integer;
}

void store(int64_t integer, uint8_t* data, const TensorLayout& l, int64_t place) {
  if (!l.is_wide) return kernels::store_code(static_cast<int32_t>(integer), data, l.format, place);
  std::memcpy(data + place * static_cast<int64_t>(sizeof(integer)), &integer, sizeof(integer));
}

}  // namespace

Integers unpack(const TensorMemory& tensor, int64_t sample) {
  const TensorLayout& l = tensor.layout;
  const uint8_t* data = tensor.data() + sample * l.sample_bytes();
  Integers integers;
  integers.reserve(static_cast<size_t>(l.elements()));
  for (int64_t p = 0; p < l.height * l.width; ++p) {
    for (int64_t c = 0; c < l.channels; ++c) integers.push_back(load(data, l, l.pixel(p) + c));
  }
  return integers;
}

void pack(std::span<const int64_t> integers, const TensorMemory& tensor, int64_t sample) {
  const TensorLayout& l = tensor.layout;
  uint8_t* data = tensor.data() + sample * l.sample_bytes();
  size_t i = 0;
  for (int64_t p = 0; p < l.height * l.width; ++p) {
    for (int64_t c = 0; c < l.channels; ++c) store(integers[i++], data, l, l.pixel(p) + c);
  }
}

namespace {

[[noreturn]] void refuse_nan(std::span<const float> sample, int64_t number) {
  const auto nan = std::find_if(sample.begin(), sample.end(), [](float v) { return std::isnan(v); });
  throw NanInput(number, nan - sample.begin());
}

class Input final : public Step {
 public:
  Input(const Operation& operation, InputPlan plan, const TensorMemory& out)
      : layer_(operation.layer), plan_(std::move(plan)), out_(out) {
    plan_.line.format = out.layout.format;
  }

  void run(std::span<const float> x, int64_t samples) override {
    const TensorLayout& l = out_.layout;
    // Without a border the rows of a sample are one.
    const bool whole = l.border.is_empty();
    const int64_t rows = whole ? 1 : l.height, row = l.elements() / rows;
    for (int64_t n = 0; n < samples; ++n) {
      const auto sample = x.subspan(static_cast<size_t>(n * l.elements()), static_cast<size_t>(l.elements()));
      bool ok = true;
      for (int64_t y = 0; y < rows; ++y) {
        const int64_t place = n * l.sample_stride() + l.first() + y * l.row_stride();
        ok = codes(sample.data() + y * row, row, place) && ok;
      }
      if (!ok) refuse_nan(sample, n);
    }
  }
  std::string describe() const override { return layer_ + ": input, " + (plan_.is_line ? "linear" : "thresholds"); }

 private:
  // False if an element is NaN.
  bool codes(const float* x, int64_t count, int64_t place) const {
    if (plan_.is_line) return kernels::float_codes(plan_.line, x, count, out_.data(), place);
    for (int64_t i = 0; i < count; ++i) {
      if (std::isnan(x[i])) return false;
      kernels::store_code(code(x[i]), out_.data(), plan_.line.format, place + i);
    }
    return true;
  }

  // The line is nearly right; its neighbours' thresholds say where it is not.
  int32_t code(float x) const {
    const kernels::FloatCodes& line = plan_.line;
    const float guess = std::min(std::max(x * line.multiplier, line.low), line.high);
    const auto low = static_cast<int32_t>(line.low);
    auto passed = static_cast<size_t>(static_cast<int32_t>(std::nearbyint(guess)) - low);
    while (passed < plan_.firsts.size() && x >= plan_.firsts[passed]) ++passed;
    while (passed > 0 && x < plan_.firsts[passed - 1]) --passed;
    return low + static_cast<int32_t>(passed);
  }

  std::string layer_;
  InputPlan plan_;
  const TensorMemory& out_;
};

class Pooling final : public Step {
 public:
  Pooling(const Operation& operation, const TensorMemory& in, const TensorMemory& out,
          RequantizationPlan requantization)
      : layer_(operation.layer), in_(in), out_(out), requantization_(std::move(requantization)) {
    const auto* extremum = std::get_if<MaxPool>(&operation.action);
    const auto* sum = std::get_if<SumPool>(&operation.action);
    const Window& w = extremum != nullptr ? extremum->window : sum->window;
    if (sum != nullptr) pool_.common = static_cast<int32_t>(sum->common);
    const TensorLayout &i = in.layout, &o = out.layout;
    pool_.kind = extremum != nullptr ? kernels::PoolKind::kExtremum : kernels::PoolKind::kSum;
    pool_.height = w.height, pool_.width = w.width, pool_.stride_height = w.stride_height;
    pool_.stride_width = w.stride_width, pool_.pad_top = w.pad_top, pool_.pad_left = w.pad_left;
    pool_.in_rows = i.height, pool_.in_columns = i.width, pool_.rows = o.height, pool_.columns = o.width;
    pool_.channels = i.channels, pool_.in_format = i.format, pool_.format = o.format;
    pool_.in_layout = i.pixels(), pool_.layout = o.pixels();
    pool_.requantization = requantization_.view();
    if (extremum != nullptr) take_minima(extremum->takes_minimum);
  }

  void run(std::span<const float>, int64_t samples) override { kernels::pool(pool_, in_.data(), samples, out_.data()); }
  std::string describe() const override {
    const bool sums = pool_.kind == kernels::PoolKind::kSum;
    return layer_ + (sums ? ": sums of windows, " : ": extrema of windows, ") +
           std::string(program::name_of(requantization_.kind()));
  }

 private:
  void take_minima(const std::vector<uint8_t>& takes_minimum) {
    for (const uint8_t takes : takes_minimum) minima_.push_back(takes != 0 ? -1 : 0);
    if (std::all_of(minima_.begin(), minima_.end(), [](int32_t m) { return m == 0; })) return;
    minima_.resize((minima_.size() + 15) / 16 * 16, 0);
    pool_.takes_minimum = minima_.data();
  }

  std::string layer_;
  const TensorMemory &in_, &out_;
  RequantizationPlan requantization_;
  std::vector<int32_t> minima_;
  kernels::Pool pool_;
};

class ScaledSum final : public Step {
 public:
  ScaledSum(const Operation& operation, const std::vector<Scaled>& terms, const TensorMemory& out,
            RequantizationPlan requantization)
      : layer_(operation.layer), out_(out), requantization_(std::move(requantization)) {
    for (const Scaled& term : terms) {
      tensors_.push_back(term.tensor);
      const TensorLayout& l = term.tensor->layout;
      terms_.push_back({nullptr, l.format, l.pixels(), static_cast<int32_t>(term.factor)});
    }
    const TensorLayout& l = out.layout;
    sums_.rows = l.height, sums_.columns = l.width, sums_.channels = l.channels;
    sums_.format = l.format, sums_.layout = l.pixels();
    if (const auto* scale = std::get_if<Scale>(&operation.action)) take_factors(*scale, l.channels);
    sums_.requantization = requantization_.view();
    sums_.terms = terms_;
  }

  void run(std::span<const float>, int64_t samples) override {
    for (size_t i = 0; i < terms_.size(); ++i) terms_[i].codes = tensors_[i]->data();
    kernels::scaled_sums(sums_, samples, out_.data());
  }
  std::string describe() const override {
    return layer_ + ": " + (terms_.size() > 1 ? "sum of tensors, " : "element by element, ") +
           std::string(program::name_of(requantization_.kind()));
  }

 private:
  void take_factors(const Scale& scale, int64_t channels) {
    for (int64_t c = 0; c < channels; ++c) {
      const size_t i = scale.factors.size() == 1 ? 0 : static_cast<size_t>(c);
      factors_.push_back(static_cast<int32_t>(scale.factors[i]));
    }
    factors_.resize((factors_.size() + 15) / 16 * 16, 1);
    sums_.channel_factors = factors_.data();
  }

  std::string layer_;
  const TensorMemory& out_;
  RequantizationPlan requantization_;
  std::vector<const TensorMemory*> tensors_;
  std::vector<kernels::ScaledTerm> terms_;
  std::vector<int32_t> factors_;
  kernels::ScaledSums sums_;
};

// Concatenate, Pad and Reshape: integers change their place and perhaps their format.
class Copy final : public Step {
 public:
  Copy(const Operation& operation, const std::vector<const TensorMemory*>& ins, const TensorMemory& out)
      : layer_(operation.layer), ins_(ins), out_(out) {
    const auto* padding = std::get_if<Pad>(&operation.action);
    const TensorLayout& o = out.layout;
    int64_t channel = 0;
    for (const TensorMemory* in : ins) {
      TensorLayout i = in->layout;
      kernels::PixelLayout to = o.pixels();
      if (padding != nullptr) to.first += padding->top * o.row_stride() + padding->left * o.channels;
      if (std::holds_alternative<Concatenate>(operation.action)) to.first += channel;
      if (std::holds_alternative<Reshape>(operation.action)) {
        i = TensorLayout(Shape{i.elements()}), i.format = in->layout.format;
        to = {0, o.sample_stride(), 0, 0};
      }
      channel += i.channels;
      parts_.push_back({nullptr, i.format, i.pixels(), 1});
      kernels::ScaledSums copy;
      copy.rows = i.height, copy.columns = i.width, copy.channels = i.channels;
      copy.format = o.format, copy.layout = to;
      copies_.push_back(copy);
    }
    for (size_t i = 0; i < parts_.size(); ++i) copies_[i].terms = {&parts_[i], 1};
  }

  void run(std::span<const float>, int64_t samples) override {
    for (size_t i = 0; i < copies_.size(); ++i) {
      parts_[i].codes = ins_[i]->data();
      kernels::scaled_sums(copies_[i], samples, out_.data());
    }
  }
  std::string describe() const override { return layer_ + ": copy"; }

 private:
  std::string layer_;
  std::vector<const TensorMemory*> ins_;
  const TensorMemory& out_;
  std::vector<kernels::ScaledTerm> parts_;
  std::vector<kernels::ScaledSums> copies_;
};

class Reference final : public Step {
 public:
  Reference(const Program& program, const Operation& operation, std::vector<const TensorMemory*> ins,
            const TensorMemory& out)
      : program_(program), operation_(operation), ins_(std::move(ins)), out_(out) {}

  void run(std::span<const float> x, int64_t samples) override {
    const auto size = static_cast<size_t>(program_.input_shape.elements());
    Integers result(static_cast<size_t>(operation_.result.shape.elements()));
    for (int64_t n = 0; n < samples; ++n) {
      std::vector<Integers> integers;
      for (const TensorMemory* in : ins_) integers.push_back(unpack(*in, n));
      std::vector<const Integers*> inputs;
      for (const auto& input : integers) inputs.push_back(&input);
      count_samples_from(n, [&] {
        run_operation(program_, operation_, inputs, x.subspan(static_cast<size_t>(n) * size, size), result);
      });
      pack(result, out_, n);
    }
  }
  std::string describe() const override { return operation_.layer + ": reference"; }

 private:
  const Program& program_;
  const Operation& operation_;
  std::vector<const TensorMemory*> ins_;
  const TensorMemory& out_;
};

}  // namespace

StepPtr input_step(const Program& program, const Operation& operation, const TensorMemory& out) {
  auto plan = plan_input(std::get<QuantizeInput>(operation.action), operation.result);
  if (!plan) return reference_step(program, operation, {}, out);
  return std::make_unique<Input>(operation, std::move(*plan), out);
}

StepPtr pool_step(const Operation& operation, const TensorMemory& in, const TensorMemory& out,
                  RequantizationPlan requantization) {
  return std::make_unique<Pooling>(operation, in, out, std::move(requantization));
}

StepPtr scaled_step(const Operation& operation, const std::vector<Scaled>& terms, const TensorMemory& out,
                    RequantizationPlan requantization) {
  return std::make_unique<ScaledSum>(operation, terms, out, std::move(requantization));
}

StepPtr copy_step(const Operation& operation, const std::vector<const TensorMemory*>& ins, const TensorMemory& out) {
  const bool bordered = !out.layout.border.is_empty() || !ins[0]->layout.border.is_empty();
  if (std::holds_alternative<Reshape>(operation.action) && bordered) return nullptr;
  return std::make_unique<Copy>(operation, ins, out);
}

StepPtr reference_step(const Program& program, const Operation& operation, std::vector<const TensorMemory*> ins,
                       const TensorMemory& out) {
  return std::make_unique<Reference>(program, operation, std::move(ins), out);
}

}  // namespace nibble::program
