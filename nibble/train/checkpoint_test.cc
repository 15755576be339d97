// Trainings that go on after a stop, and checkpoints that do not fit.
#include "nibble/train/checkpoint.h"

#include <gtest/gtest.h>

#include <atomic>

#include "nibble/core/atomic_file.h"
#include "nibble/train/callbacks.h"
#include "nibble/train/small_training.h"
#include "support/golden.h"

namespace nibble::train {
namespace {

// A stop flag that a callback raises in the middle of an epoch.
class StopAt : public Callback {
 public:
  StopAt(int epoch, int64_t step, std::atomic<bool>& flag) : epoch_(epoch), step_(step), flag_(flag) {}
  void on_batch_end(int epoch, int64_t step, double, std::optional<double>) override {
    if (epoch == epoch_ && step == step_) flag_ = true;
  }

 private:
  int epoch_;
  int64_t step_;
  std::atomic<bool>& flag_;
};

TEST(Trainer, ResumesToTheBytesOfAnUndisturbedRun) {
  const auto directory = testing::scratch_dir("resume");
  Trainer undisturbed(small_network(), options());
  FitOptions whole = epochs(4);
  whole.schedule = ScheduleKind::kCosine;
  const History expected = undisturbed.fit(stripes_data(), whole);

  std::atomic<bool> stop = false;
  StopAt stopper(3, 2, stop);
  FitOptions part = whole;
  part.checkpoint = directory / "checkpoint";
  part.stop = &stop;
  part.callbacks = {&stopper};
  Trainer first(small_network(), options());
  EXPECT_EQ(first.fit(stripes_data(), part).size(), 2u);

  FitOptions rest = whole;
  rest.checkpoint = part.checkpoint;
  rest.resume = true;
  Trainer second(small_network(), options());
  const History history = second.fit(stripes_data(), rest);
  ASSERT_EQ(history.size(), 4u);
  EXPECT_EQ(second.weights(), undisturbed.weights());
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(history[i].loss, expected[i].loss);
}

TEST(Trainer, CheckpointOfOtherOptionsIsRefused) {
  FitOptions fit = epochs(1);
  fit.checkpoint = testing::scratch_dir("other") / "checkpoint";
  Trainer(small_network(), options()).fit(stripes_data(), fit);
  CompileOptions other = options();
  other.learning_rate = 0.5;
  fit.resume = true;
  Trainer trainer(small_network(), other);
  EXPECT_THROW(trainer.fit(stripes_data(), fit), InvalidArgument);
}

TEST(Trainer, CheckpointOfOtherDataIsRefused) {
  FitOptions fit = epochs(1);
  fit.checkpoint = testing::scratch_dir("other_data") / "checkpoint";
  Trainer(small_network(), options()).fit(stripes_data(), fit);
  data::Dataset other = stripes_data();
  other.train = stripes(600, 3);
  fit.resume = true;
  Trainer trainer(small_network(), options());
  EXPECT_THROW(trainer.fit(other, fit), InvalidArgument);
}

TEST(Trainer, FewerEpochsThanTheCheckpointHoldsAreRefused) {
  FitOptions fit = epochs(3);
  fit.checkpoint = testing::scratch_dir("fewer") / "checkpoint";
  Trainer(small_network(), options()).fit(stripes_data(), fit);
  fit.resume = true;
  for (const int fewer : {1, 2}) {
    fit.epochs = fewer;
    Trainer trainer(small_network(), options());
    const auto before = trainer.weights();
    try {
      trainer.fit(stripes_data(), fit);
      ADD_FAILURE() << fewer << " epochs";
    } catch (const InvalidArgument& error) {
      const std::string text = error.what();
      const std::string asked = std::to_string(fewer) + " epochs in total were asked for, but 3 are done already in ";
      EXPECT_NE(text.find(asked + fit.checkpoint.string()), std::string::npos) << text;
      EXPECT_NE(text.find("Ask for 3 epochs or more"), std::string::npos) << text;
    }
    EXPECT_EQ(trainer.weights(), before);
  }
  fit.epochs = 3;
  EXPECT_EQ(Trainer(small_network(), options()).fit(stripes_data(), fit).size(), 3u);
}

TEST(Checkpoint, DamagedFilesAreRefused) {
  FitOptions fit = epochs(1);
  fit.checkpoint = testing::scratch_dir("damaged") / "checkpoint";
  Trainer(small_network(), options()).fit(stripes_data(), fit);
  const std::string good = read_file(fit.checkpoint);
  RandomStream stream({1, RandomPurpose::kTest, 0, 0});
  for (int i = 0; i < 200; ++i) {
    std::string cut = good.substr(0, stream.below(static_cast<uint32_t>(good.size())));
    write_file(fit.checkpoint, cut);
    EXPECT_THROW(load_checkpoint(fit.checkpoint, "x"), Error);
    std::string flipped = good;
    flipped[stream.below(static_cast<uint32_t>(good.size()))] ^= static_cast<char>(1u << stream.below(8));
    write_file(fit.checkpoint, flipped);
    EXPECT_THROW(load_checkpoint(fit.checkpoint, "x"), Error);
  }
}

}  // namespace
}  // namespace nibble::train
