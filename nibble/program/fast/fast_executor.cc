#include "nibble/program/fast/fast_executor.h"

#include <algorithm>
#include <deque>

#include "nibble/core/error.h"
#include "nibble/program/fast/channel_steps.h"
#include "nibble/program/fast/step.h"

namespace nibble::program {
namespace {

constexpr int64_t kMostSamples = 16;               // that go through the network together ...
constexpr int64_t kCacheBytes = int64_t{1} << 18;  // ... as far as their values stay near the processor
constexpr int64_t kMostBorder = int64_t{1} << 24;  // elements that a file may ask for beyond the values, in all

// Eight bits where the integers and 0 (which borders hold) are among 256 neighbours.
kernels::CodeFormat format_of(const Interval& hull, kernels::CodeType at_least) {
  using kernels::CodeType;
  const int64_t low = std::min<int64_t>(hull.low, 0), high = std::max<int64_t>(hull.high, 0);
  if (high - low <= 255 && at_least == CodeType::kUint8) return {CodeType::kUint8, static_cast<int32_t>(-low)};
  const bool fits = low >= INT16_MIN && high <= INT16_MAX;
  return {fits && at_least != CodeType::kInt32 ? CodeType::kInt16 : CodeType::kInt32, 0};
}

template <class Kind>
bool is(const Operation& operation) {
  return std::holds_alternative<Kind>(operation.action);
}

}  // namespace

// Which operations share a step, how values lie, and the steps.
class FastExecutor::Plan {
 public:
  Plan(const Program& program, const FastOptions& options)
      : program_(program),
        options_(options),
        readers_(program.operations.size()),
        after_(program.operations.size(), -1),
        has_plan_(program.operations.size(), 1),
        is_sign_(program.operations.size(), 0),
        is_inside_(program.operations.size(), 0),
        has_step_(program.operations.size(), 0),
        step_of_(program.operations.size(), 0),
        memory_(program.operations.size()) {
    for (size_t i = 0; i < program.operations.size(); ++i) {
      for (const int input : program.operations[i].inputs) readers_[static_cast<size_t>(input)].push_back(i);
    }
    bound_plans();
    find_signs();
    if (!options.keep_results) merge();
    lay_out();
    for (size_t i = 0; i < program.operations.size(); ++i) {
      if (is_inside_[i] == 0 && has_step_[i] == 0) add_step(i);
    }
    const int64_t bytes = std::max<int64_t>(1, activation_bytes());
    most_samples_ = options.keep_results ? 1 : std::clamp<int64_t>(kCacheBytes / bytes, 1, kMostSamples);
  }

  void run(std::span<const float> x, int64_t count, std::span<float> outputs) {
    const auto in = static_cast<size_t>(program_.input_shape.elements());
    const auto out = static_cast<size_t>(program_.output_shape().elements());
    for (int64_t begin = 0; begin < count; begin += most_samples_) {
      const int64_t samples = std::min(most_samples_, count - begin);
      make_room(samples);
      const auto part = x.subspan(static_cast<size_t>(begin) * in, static_cast<size_t>(samples) * in);
      count_samples_from(begin, [&] {
        for (const StepPtr& step : steps_) step->run(part, samples);
      });
      for (int64_t n = 0; n < samples; ++n) {
        const Integers integers = unpack(memory_[static_cast<size_t>(program_.output)], n);
        finish_output(program_, integers, outputs.subspan(static_cast<size_t>(begin + n) * out, out));
      }
      last_sample_ = samples - 1;
    }
  }

  Integers result(int operation) const {
    if (!options_.keep_results) {
      throw InvalidArgument("[run] results of operations are kept with keep_results only.");
    }
    return unpack(memory_[static_cast<size_t>(operation)], last_sample_);
  }

  std::vector<std::string> steps() const {
    std::vector<std::string> texts;
    for (const StepPtr& step : steps_) texts.push_back(step->describe());
    return texts;
  }

  int64_t activation_bytes() const {
    int64_t bytes = 0;
    for (size_t i = 0; i < memory_.size(); ++i) bytes += owns_memory(i) ? memory_[i].layout.sample_bytes() : 0;
    for (const TensorMemory& memory : between_) bytes += memory.layout.sample_bytes();
    return bytes;
  }
  // A value is needed from the step that writes it to the last one that reads it or a reshape of it.
  int64_t peak_activation_bytes() const {
    std::vector<int64_t> bytes(steps_.size(), 0);
    for (size_t i = 0; i < memory_.size(); ++i) {
      if (!owns_memory(i)) continue;
      for (size_t s = step_of(i); s <= last_use(i); ++s) bytes[s] += memory_[i].layout.sample_bytes();
    }
    for (size_t k = 0; k < between_.size(); ++k) {
      const size_t step = step_of(pooled_[k]);  // the pool's; the sums come right before it
      for (const size_t s : {step - 1, step}) bytes[s] += between_[k].layout.sample_bytes();
    }
    return bytes.empty() ? 0 : *std::max_element(bytes.begin(), bytes.end());
  }
  int64_t prepared_bytes() const {
    int64_t bytes = 0;
    for (const StepPtr& step : steps_) bytes += step->prepared_bytes();
    return bytes;
  }

 private:
  const Operation& operation(size_t i) const { return program_.operations[i]; }
  size_t input_of(size_t i, size_t k = 0) const { return static_cast<size_t>(operation(i).inputs[k]); }

  // The only reader of an operation whose integers nobody else asks for; -1: there are others.
  int only_reader(size_t i) const {
    if (static_cast<int>(i) == program_.output || readers_[i].size() != 1) return -1;
    return static_cast<int>(readers_[i][0]);
  }

  // Its integers, or what it sums on the way, fit no 32 bits: it runs as in the reference.
  bool needs_64_bits(size_t i) const {
    const Operation& op = operation(i);
    const auto* sums = std::get_if<Accumulate>(&op.action);
    return is_wide(op.result) || (sums != nullptr && sums->accumulator_bits() > kNarrowBits) ||
           std::any_of(op.inputs.begin(), op.inputs.end(),
                       [&](int input) { return is_wide(operation(static_cast<size_t>(input)).result); });
  }

  // A comparison that the kernels take.
  bool has_plan(int i) const {
    return is<Compare>(operation(static_cast<size_t>(i))) && has_plan_[static_cast<size_t>(i)] != 0;
  }

  // A transposed convolution's: the kernels know no input with zeros in between.
  bool is_spread(size_t i) const {
    const auto* sums = std::get_if<Accumulate>(&operation(i).action);
    return sums != nullptr && sums->is_spread();
  }

  // A sum and the comparison after it become one step; so do an addition and the factors before it.
  void merge() {
    for (size_t i = 0; i < program_.operations.size(); ++i) {
      const int reader = only_reader(i);
      if (reader < 0 || needs_64_bits(i) || is_spread(i)) continue;
      const Operation& next = operation(static_cast<size_t>(reader));
      const bool sums = is<Accumulate>(operation(i)) || is<SumPool>(operation(i)) || is<Add>(operation(i));
      if (sums && has_plan(reader)) after_[i] = reader, is_inside_[static_cast<size_t>(reader)] = 1;
      const auto* scale = std::get_if<Scale>(&operation(i).action);
      if (scale != nullptr && scale->factors.size() == 1 && is<Add>(next)) is_inside_[i] = 1;
      if (is<Accumulate>(operation(i)) && is<MaxPool>(next)) merge_pool(i, static_cast<size_t>(reader));
    }
  }

  // [sums, extrema, comparison] as [sums with comparison, maxima of bytes]: a comparison that rises where the maximum
  // is taken and falls where the minimum is gives its largest value at the extremum.
  void merge_pool(size_t sums, size_t pool) {
    const int compare = only_reader(pool);
    if (compare < 0 || !has_plan(compare)) return;
    const auto& takes_minimum = std::get<MaxPool>(operation(pool).action).takes_minimum;
    const auto steps = channel_steps(std::get<Compare>(operation(static_cast<size_t>(compare)).action),
                                     operation(sums).result.intervals, operation(sums).result.channels());
    for (size_t c = 0; c < steps.size(); ++c) {
      const bool constant = steps[c].parts() == 1;
      if (!constant && steps[c].direction() != (takes_minimum[c] != 0 ? -1 : 1)) return;
    }
    after_[sums] = compare, pooled_.push_back(sums);
    is_inside_[pool] = is_inside_[static_cast<size_t>(compare)] = 1;
  }

  bool is_pooled(size_t i) const { return std::find(pooled_.begin(), pooled_.end(), i) != pooled_.end(); }
  // The step that an operation is part of; of a reshape that moves nothing, the one that wrote the bytes.
  size_t step_of(size_t i) const {
    if (is_alias(i)) return step_of(input_of(i));
    if (is_inside_[i] == 0) return step_of_[i];
    const auto host = std::find(after_.begin(), after_.end(), static_cast<int>(i));
    if (host != after_.end()) return step_of_[static_cast<size_t>(host - after_.begin())];
    return step_of(readers_[i][0]);  // a factor before an addition, a pool before a comparison
  }
  size_t last_use(size_t i) const {
    size_t last = step_of(i);
    if (static_cast<int>(i) == program_.output) last = steps_.size() - 1;
    for (const size_t reader : readers_[i])
      last = std::max(last, is_alias(reader) ? last_use(reader) : step_of(reader));
    return last;
  }
  // Whose value a step leaves behind.
  size_t value_of(size_t i) const { return after_[i] < 0 ? i : static_cast<size_t>(after_[i]); }

  // Comparisons whose plan would be too large run as in the reference.
  void bound_plans() {
    int64_t left = kMostPlannedIntegers;
    for (size_t i = 0; i < program_.operations.size(); ++i) {
      const auto* compare = std::get_if<Compare>(&operation(i).action);
      if (compare == nullptr) continue;
      const int64_t needed = planned_integers(*compare, operation(i).result.channels());
      has_plan_[i] = needed <= left ? 1 : 0;
      if (needed <= left) left -= needed;
    }
  }

  // In order, each once: a value that is joined with itself again and again has more paths to it than can be walked.
  void find_signs() {
    for (size_t i = 0; i < program_.operations.size(); ++i) is_sign_[i] = gives_signs(operation(i)) ? 1 : 0;
  }
  // Every integer is -1 or 1. What it reads was looked at before.
  bool gives_signs(const Operation& op) const {
    if (const auto* compare = std::get_if<Compare>(&op.action)) {
      return std::all_of(compare->values.begin(), compare->values.end(), [](int32_t v) { return v == -1 || v == 1; });
    }
    const bool moves = is<Reshape>(op) || is<MaxPool>(op) || is<Concatenate>(op);
    return moves && std::all_of(op.inputs.begin(), op.inputs.end(),
                                [&](int input) { return is_sign_[static_cast<size_t>(input)] != 0; });
  }

  void lay_out() {
    int64_t beyond = kMostBorder;
    for (size_t i = 0; i < program_.operations.size(); ++i) {
      Border border;
      auto type = kernels::CodeType::kUint8;
      for (const size_t reader : readers_[i]) {
        border.cover(border_for(operation(reader).action));
        type = std::max(type, type_for(operation(reader).action));
      }
      TensorLayout layout(operation(i).result.shape);
      const int64_t most = 4 * layout.elements() + beyond;
      // A border that is larger than a trained network has stays away: its reader runs as in the reference.
      layout.border = border;
      // Rows by a quotient: of many channels and such borders the product need not fit 64 bits.
      const bool huge = std::max({border.top, border.left, border.bottom, border.right}) > (1 << 20) ||
                        border.top + layout.height + border.bottom > most / layout.row_stride();
      if (huge) layout.border = {};
      beyond -= std::max<int64_t>(0, layout.sample_stride() - 4 * layout.elements());
      layout.is_wide = is_wide(operation(i).result);
      layout.format = format_of(operation(i).result.hull(), type);
      memory_[i].layout = layout;
    }
    for (size_t i = 0; i < program_.operations.size(); ++i) {
      if (is_alias(i)) memory_[i].bytes = memory_[input_of(i)].bytes;
    }
  }

  // A reshape of the same bytes.
  bool is_alias(size_t i) const {
    if (!is<Reshape>(operation(i))) return false;
    const TensorLayout &in = memory_[input_of(i)].layout, &out = memory_[i].layout;
    return in.border.is_empty() && out.border.is_empty() && in.format == out.format && in.is_wide == out.is_wide;
  }
  bool owns_memory(size_t i) const {
    const bool written = is_inside_[i] == 0 ? after_[i] < 0 : is_written_by_other(i);
    return written && !is_alias(i);
  }
  bool is_written_by_other(size_t i) const {
    return std::find(after_.begin(), after_.end(), static_cast<int>(i)) != after_.end();
  }

  RequantizationPlan requantization_after(size_t i) const {
    if (after_[i] < 0) return {};
    return requantization_of(static_cast<size_t>(after_[i]), i);
  }
  RequantizationPlan requantization_of(size_t compare, size_t input) const {
    // Groups of a convolution begin at any channel; a depthwise one's vectors do not.
    const auto* sums = std::get_if<Accumulate>(&operation(input).action);
    const bool is_mixed = sums == nullptr || sums->groups == 1 ||
                          (sums->groups == sums->in_channels && sums->groups == sums->out_channels);
    return {std::get<Compare>(operation(compare).action), operation(input).result.intervals,
            operation(compare).result.channels(), is_mixed};
  }

  void add_step(size_t i) {
    has_step_[i] = 1;
    if (is_alias(i)) return;
    StepPtr step = fast_step(i);
    if (step == nullptr && after_[i] >= 0) {
      split(i);
      return;
    }
    if (step == nullptr) {
      std::vector<const TensorMemory*> ins;
      for (const int input : operation(i).inputs) ins.push_back(&memory_[static_cast<size_t>(input)]);
      step = reference_step(program_, operation(i), std::move(ins), memory_[i]);
    }
    steps_.push_back(std::move(step));
    step_of_[i] = steps_.size() - 1;
  }

  // A merged operation that the kernels do not take: each part for itself.
  void split(size_t i) {
    const auto compare = static_cast<size_t>(after_[i]);
    after_[i] = -1;
    add_step(i);
    if (is_pooled(i)) {
      std::erase(pooled_, i);
      const auto pool = readers_[i][0];
      is_inside_[pool] = 0;
      add_step(pool);
    }
    is_inside_[compare] = 0;
    add_step(compare);
  }

  StepPtr fast_step(size_t i) {
    if (needs_64_bits(i) || is_spread(i)) return nullptr;
    const Operation& op = operation(i);
    if (is<QuantizeInput>(op)) return input_step(program_, op, memory_[i]);
    if (is<Accumulate>(op)) return accumulate_step(i);
    if (is<MaxPool>(op) || is<SumPool>(op)) {
      return pool_step(op, memory_[input_of(i)], memory_[value_of(i)], requantization_after(i));
    }
    if (is<Compare>(op)) {
      if (has_plan_[i] == 0) return nullptr;
      return scaled_step(op, {{&memory_[input_of(i)], 1}}, memory_[i], requantization_of(i, input_of(i)));
    }
    if (is<Scale>(op)) return scaled_step(op, {{&memory_[input_of(i)], 1}}, memory_[i], {});
    if (is<Add>(op)) return addition_step(i);
    if (is<Concatenate>(op) || is<Pad>(op) || is<Reshape>(op)) {
      std::vector<const TensorMemory*> ins;
      for (const int input : op.inputs) ins.push_back(&memory_[static_cast<size_t>(input)]);
      return copy_step(op, ins, memory_[i]);
    }
    return nullptr;
  }

  StepPtr accumulate_step(size_t i) {
    const TensorMemory& in = memory_[input_of(i)];
    const TensorMemory* out = &memory_[value_of(i)];
    if (is_pooled(i)) {
      TensorMemory whole;
      whole.layout = TensorLayout(operation(i).result.shape);
      whole.layout.format = out->layout.format;
      between_.push_back(whole);
      out = &between_.back();
    }
    StepPtr step;
    if (is_sign_[input_of(i)] != 0) step = binary_step(operation(i), in, *out, requantization_after(i));
    if (step == nullptr) step = depthwise_step(operation(i), in, *out, requantization_after(i));
    if (step == nullptr) step = sums_step(operation(i), in, *out, requantization_after(i));
    if (!is_pooled(i) || step == nullptr) return step;
    steps_.push_back(std::move(step));
    Operation maxima = operation(readers_[i][0]);
    auto& minima = std::get<MaxPool>(maxima.action).takes_minimum;
    std::fill(minima.begin(), minima.end(), uint8_t{0});
    return pool_step(maxima, *out, memory_[value_of(i)], {});
  }

  StepPtr addition_step(size_t i) {
    std::vector<Scaled> terms;
    for (const int input : operation(i).inputs) {
      const auto source = static_cast<size_t>(input);
      if (is_inside_[source] != 0 && is<Scale>(operation(source))) {
        terms.push_back({&memory_[input_of(source)], std::get<Scale>(operation(source).action).factors[0]});
      } else {
        terms.push_back({&memory_[source], 1});
      }
    }
    return scaled_step(operation(i), terms, memory_[value_of(i)], requantization_after(i));
  }

  // Memory for so many samples. Borders hold the integer 0 and are never written.
  void make_room(int64_t samples) {
    if (samples <= room_) return;
    room_ = samples;
    for (size_t i = 0; i < memory_.size(); ++i) {
      if (owns_memory(i)) make_room(memory_[i], samples);
    }
    for (const TensorMemory& memory : between_) make_room(memory, samples);
  }
  static void make_room(const TensorMemory& memory, int64_t samples) {
    const auto bytes = static_cast<size_t>(samples * memory.layout.sample_bytes()) + kernels::kReadAhead;
    memory.bytes->assign(bytes, static_cast<uint8_t>(memory.layout.format.zero_point));
  }

  const Program& program_;
  FastOptions options_;
  std::vector<std::vector<size_t>> readers_;
  std::vector<int> after_;          // the comparison in an operation's step; -1: none
  std::vector<uint8_t> has_plan_;   // of a comparison: its plan is not too large
  std::vector<uint8_t> is_sign_;    // every integer is -1 or 1
  std::vector<uint8_t> is_inside_;  // it is part of another operation's step
  std::vector<uint8_t> has_step_;
  std::vector<size_t> step_of_;
  std::vector<size_t> pooled_;        // sums whose step has a pool in it
  std::vector<TensorMemory> memory_;  // of each operation's value
  std::deque<TensorMemory> between_;  // values inside steps
  std::vector<StepPtr> steps_;
  int64_t most_samples_ = 1, room_ = 0, last_sample_ = 0;
};

FastExecutor::FastExecutor(const Program& program, const FastOptions& options)
    : plan_(std::make_unique<Plan>(program, options)) {}
FastExecutor::~FastExecutor() = default;

void FastExecutor::run(std::span<const float> x, int64_t count, std::span<float> outputs) {
  plan_->run(x, count, outputs);
}
Integers FastExecutor::result(int operation) const { return plan_->result(operation); }
std::vector<std::string> FastExecutor::steps() const { return plan_->steps(); }
int64_t FastExecutor::activation_bytes() const { return plan_->activation_bytes(); }
int64_t FastExecutor::peak_activation_bytes() const { return plan_->peak_activation_bytes(); }
int64_t FastExecutor::prepared_bytes() const { return plan_->prepared_bytes(); }

}  // namespace nibble::program
