// fuse(): joins steps whose values have a single reader.
#include <optional>

#include "nibble/train/plan.h"

namespace nibble::train {

std::vector<std::vector<int>> readers(const Plan& plan) {
  std::vector<std::vector<int>> result(plan.steps.size());
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    for (int input : plan.steps[i].inputs) result[static_cast<size_t>(input)].push_back(static_cast<int>(i));
  }
  return result;
}

namespace {

// Marks steps as absorbed into others, then copies the rest.
class Fusion {
 public:
  explicit Fusion(const Plan& plan) : plan_(plan), readers_(readers(plan)), absorbed_(plan.steps.size(), false) {}

  Plan run() {
    for (size_t i = 0; i < plan_.steps.size(); ++i) {
      if (!absorbed_[i]) begin_chain(static_cast<int>(i));
    }
    absorb_pools();
    absorb_prologues();
    plan_moments();
    return compact();
  }

 private:
  Step& step(int i) { return plan_.steps[static_cast<size_t>(i)]; }

  bool is_output(int i) const {
    for (int output : plan_.outputs) {
      if (output == i) return true;
    }
    return false;
  }

  // The one step that reads i's value, or -1.
  int only_reader(int i) const {
    const auto& all = readers_[static_cast<size_t>(i)];
    return all.size() == 1 && !is_output(i) ? all[0] : -1;
  }

  // Batch norm, activation, dropout, each optional but in this order, from step i on, become a
  // kFused step in the place of the last of them.
  void begin_chain(int i) {
    Prologue prologue;
    int last = -1, next = i;
    const auto take = [&](StepKind kind) {
      if (next < 0 || step(next).kind != kind) return false;
      if (kind == StepKind::kActivation && !step(next).activation.fast) return false;
      if (kind == StepKind::kBatchNorm && step(next).axis != -1) return false;
      if (last >= 0) absorbed_[static_cast<size_t>(last)] = true;
      last = next;
      next = only_reader(next);
      return true;
    };
    if (take(StepKind::kBatchNorm)) prologue.batch_norm_layer = step(last).layer;
    if (take(StepKind::kActivation)) prologue.activation = step(last).activation;
    if (take(StepKind::kDropout)) {
      prologue.dropout_layer = step(last).layer;
      prologue.dropout_rate = step(last).rate;
    }
    if (last < 0) return;
    Step fused = step(last);
    fused.kind = StepKind::kFused;
    fused.inputs = step(i).inputs;
    fused.prologue = prologue;
    step(last) = fused;
  }

  void absorb_pools() {
    for (size_t i = 0; i < plan_.steps.size(); ++i) {
      if (absorbed_[i] || step(static_cast<int>(i)).kind != StepKind::kConvolution) continue;
      const int reader = only_reader(static_cast<int>(i));
      if (reader < 0 || step(reader).kind != StepKind::kMaxPool) continue;
      const Window& w = step(reader).window;
      const bool two_by_two = w.height == 2 && w.width == 2 && w.stride_height == 2 && w.stride_width == 2;
      const bool unpadded = w.pad_top + w.pad_left + w.pad_bottom + w.pad_right == 0;
      if (!two_by_two || !unpadded) continue;
      Step joined = step(static_cast<int>(i));
      joined.pools = true;
      joined.shape = step(reader).shape;
      step(reader) = joined;
      absorbed_[i] = true;
    }
  }

  void absorb_prologues() {
    for (size_t i = 0; i < plan_.steps.size(); ++i) {
      Step& convolution = step(static_cast<int>(i));
      if (absorbed_[i] || convolution.kind != StepKind::kConvolution) continue;
      const int before = convolution.inputs[0];
      const bool single = readers_[static_cast<size_t>(before)].size() == 1 && !is_output(before);
      if (!single || step(before).kind != StepKind::kFused) continue;
      convolution.prologue = step(before).prologue;
      convolution.inputs = step(before).inputs;
      absorbed_[static_cast<size_t>(before)] = true;
    }
  }

  // A convolution that feeds a batch norm gives the sums that it needs; and if that is its only
  // reader, the last pass of the gradient is left to it, slice by slice in cache.
  void plan_moments() {
    const auto live_readers = [&] {
      std::vector<std::vector<int>> live(plan_.steps.size());
      for (size_t i = 0; i < plan_.steps.size(); ++i) {
        if (absorbed_[i]) continue;
        for (int input : plan_.steps[i].inputs) live[static_cast<size_t>(input)].push_back(static_cast<int>(i));
      }
      return live;
    }();
    for (size_t i = 0; i < plan_.steps.size(); ++i) {
      Step& producer = plan_.steps[i];
      if (absorbed_[i] || producer.kind != StepKind::kConvolution) continue;
      for (int reader : live_readers[i]) {
        const auto& prologue = step(reader).prologue;
        if (prologue && prologue->batch_norm_layer >= 0) producer.gives_moments = true;
      }
      const bool single = live_readers[i].size() == 1 && !is_output(static_cast<int>(i));
      producer.gradient_is_pending = single && step(live_readers[i][0]).prologue.has_value();
    }
  }

  Plan compact() const {
    Plan result;
    std::vector<int> moved(plan_.steps.size(), -1);
    for (size_t i = 0; i < plan_.steps.size(); ++i) {
      if (absorbed_[i]) continue;
      Step copy = plan_.steps[i];
      for (int& input : copy.inputs) input = moved[static_cast<size_t>(input)];
      moved[i] = static_cast<int>(result.steps.size());
      result.steps.push_back(std::move(copy));
    }
    for (int output : plan_.outputs) result.outputs.push_back(moved[static_cast<size_t>(output)]);
    return result;
  }

  Plan plan_;
  std::vector<std::vector<int>> readers_;
  std::vector<bool> absorbed_;
};

}  // namespace

Plan fuse(const Plan& plan) { return Fusion(plan).run(); }

}  // namespace nibble::train
