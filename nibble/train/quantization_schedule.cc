#include "nibble/train/quantization_schedule.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/graph/layer_quantization.h"

namespace nibble::train {
namespace {

using nlohmann::json;

void check(const QuantizationSchedule& s) {
  for (const auto& [name, time] : {std::pair("begin", std::optional(s.begin)),
                                   {"freeze_ranges", s.freeze_ranges},
                                   {"freeze_batch_norm", s.freeze_batch_norm}}) {
    if (!time || (*time >= 0 && std::isfinite(*time))) continue;
    throw InvalidArgument("[quantization_schedule] {} is {}; epochs count from 0.", name, *time);
  }
  if (!s.freeze_ranges || *s.freeze_ranges >= s.begin) return;
  throw InvalidArgument(
      "[quantization_schedule] the ranges are frozen after {} epochs, before quantization begins after {}.",
      *s.freeze_ranges, s.begin);
}

class Schedule : public Callback {
 public:
  explicit Schedule(const QuantizationSchedule& schedule) : schedule_(schedule) {}

  void on_train_begin(int epochs, int64_t steps_per_epoch) override {
    steps_per_epoch_ = steps_per_epoch;
    if (schedule_.begin >= epochs) {
      throw InvalidArgument(
          "[quantization_schedule] quantization would begin after {} epochs, but the training has {}: the model would "
          "never be trained quantized.",
          schedule_.begin, epochs);
    }
    for (const auto& [what, time] :
         {std::pair("ranges", schedule_.freeze_ranges), {"statistics of batch norms", schedule_.freeze_batch_norm}}) {
      if (!time || *time < epochs) continue;
      throw InvalidArgument(
          "[quantization_schedule] the {} would be frozen after {} epochs, but the training has {}: they would never "
          "stand still. Freeze them earlier, train for more epochs, or leave them free.",
          what, *time, epochs);
    }
  }

  void on_batch_begin(int epoch, int64_t step, Trainer& trainer) override {
    const double part = static_cast<double>(step - 1) / static_cast<double>(steps_per_epoch_);
    const QuantizationPhase phase = phase_at(schedule_, epoch - 1 + part);
    if (!is_begun_ && !phase.ranges_move) require_ranges(trainer);
    is_begun_ = true;
    trainer.set_quantization_phase(phase);
  }

  std::string name() const override { return "quantization_schedule"; }

  json state() const override {
    const auto time = [](const std::optional<double>& t) { return t ? json(*t) : json(nullptr); };
    return {schedule_.begin, time(schedule_.freeze_ranges), time(schedule_.freeze_batch_norm)};
  }
  void restore(const json& given) override {
    if (given == state()) return;
    throw InvalidArgument(
        "[quantization_schedule] the checkpoint was made with the times {}, but these are {} (begin, freeze_ranges, "
        "freeze_batch_norm). Give the same, or start anew.",
        given.dump(), state().dump());
  }

 private:
  // Ranges that are frozen before a batch was seen would stay what they are.
  static void require_ranges(Trainer& trainer) {
    try {
      graph::require_calibrated(trainer.model(), "quantization_schedule");
    } catch (const InvalidArgument& error) {
      throw InvalidArgument("{} Here the ranges are frozen from the first step on: freeze them later.", error.what());
    }
  }

  QuantizationSchedule schedule_;
  int64_t steps_per_epoch_ = 1;
  bool is_begun_ = false;
};

}  // namespace

QuantizationPhase phase_at(const QuantizationSchedule& schedule, double epochs) {
  return {.applies = epochs >= schedule.begin,
          .ranges_move = !schedule.freeze_ranges || epochs < *schedule.freeze_ranges,
          .statistics_move = !schedule.freeze_batch_norm || epochs < *schedule.freeze_batch_norm};
}

std::unique_ptr<Callback> quantization_schedule(const QuantizationSchedule& schedule) {
  check(schedule);
  return std::make_unique<Schedule>(schedule);
}

}  // namespace nibble::train
