// Several processes (threads here, each with its own group) train what one process trains.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <future>

#include "nibble/data/synthetic_digits.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/layer_quantization.h"
#include "nibble/train/joined_groups.h"
#include "nibble/train/trainer.h"
#include "support/golden.h"

namespace nibble::train {
namespace {

using namespace graph::build;

graph::Model small_network() {
  const auto in = Input({.shape = {28, 28, 1}, .name = "input"});
  auto x = QConv2D({.filters = 8,
                    .kernel_size = {3, 3},
                    .strides = {2, 2},
                    .kernel_quantizer = "quantized_bits(4,0,1,alpha='auto_po2')",
                    .bias_quantizer = "quantized_bits(4,0,1)",
                    .more = {{"kernel_regularizer", "l2"}}})(in);
  x = BatchNormalization({})(x);
  x = QActivation({.activation = "quantized_relu(4,2)"})(x);
  x = Dropout({.rate = 0.25})(x);
  x = QConv2D({.filters = 8, .kernel_size = {3, 3}, .kernel_quantizer = "quantized_bits(4,0,1)"})(x);
  x = BatchNormalization({})(x);
  x = QActivation({.activation = "quantized_relu(4,2)"})(x);
  x = Activation({.activation = "softmax"})(Dense({.units = 10})(Flatten({})(x)));
  return build_model({in}, {x}, "small");
}

struct Outcome {
  std::vector<double> losses;
  Evaluation evaluation;
  std::vector<std::vector<float>> weights;
};

// Keeps the loss of each step.
class Losses : public Callback {
 public:
  std::vector<double> values;
  void on_batch_end(int, int64_t, double loss, std::optional<double>) override { values.push_back(loss); }
};

Outcome train(const data::Dataset& dataset, bool fused, std::shared_ptr<ProcessGroup> processes,
              const std::filesystem::path& checkpoint = {}, bool resume = false, int epochs = 2) {
  Trainer trainer(small_network(), {.learning_rate = 0.01, .seed = 3, .fused = fused, .processes = processes});
  Losses losses;
  FitOptions fit;
  fit.epochs = epochs;
  fit.batch_size = 100;  // no whole number of units for each of two or three
  fit.callbacks = {&losses};
  fit.checkpoint = checkpoint;
  fit.resume = resume;
  trainer.fit(dataset, fit);
  return {losses.values, trainer.evaluate(dataset.test, 64), trainer.weights()};
}

// What each of `size` processes ends with.
template <class Work>
std::vector<Outcome> in_processes(int size, const Work& work) {
  auto groups = joined_groups(size);
  std::vector<std::future<Outcome>> working;
  for (auto& group : groups) {
    // The group is the work's alone: it goes when the work ends, as that of a process does.
    working.push_back(std::async(std::launch::async, [&work, &group] {
      const std::shared_ptr<ProcessGroup> own = std::move(group);
      return work(own);
    }));
  }
  std::vector<Outcome> outcomes;
  for (auto& process : working) outcomes.push_back(process.get());
  return outcomes;
}

data::Dataset digits() { return data::synthetic_digits({.train_count = 600, .test_count = 200}); }

class DataParallel : public ::testing::TestWithParam<bool> {};

TEST_P(DataParallel, TrainsWhatOneProcessTrains) {
  const bool fused = GetParam();
  const data::Dataset dataset = digits();
  const Outcome alone = train(dataset, fused, nullptr);
  const auto together = in_processes(2, [&](const auto& processes) { return train(dataset, fused, processes); });
  ASSERT_EQ(alone.losses.size(), together[0].losses.size());
  for (size_t i = 0; i < alone.losses.size(); ++i) {
    EXPECT_NEAR(together[0].losses[i] / alone.losses[i], 1.0, 1e-4) << "step " << i;
  }
  EXPECT_NEAR(together[0].evaluation.loss / alone.evaluation.loss, 1.0, 1e-3);
  // All processes hold the same bits.
  EXPECT_EQ(together[0].weights, together[1].weights);
  EXPECT_EQ(together[0].evaluation.loss, together[1].evaluation.loss);
  EXPECT_EQ(together[0].losses, together[1].losses);
}

TEST_P(DataParallel, GoesOnFromItsCheckpoint) {
  const bool fused = GetParam();
  const data::Dataset dataset = digits();
  const auto undisturbed = in_processes(2, [&](const auto& processes) { return train(dataset, fused, processes); });
  const auto file = testing::scratch_dir("data_parallel") / "checkpoint";
  in_processes(2, [&](const auto& processes) { return train(dataset, fused, processes, file, false, 1); });
  const auto resumed =
      in_processes(2, [&](const auto& processes) { return train(dataset, fused, processes, file, true, 2); });
  EXPECT_EQ(resumed[1].weights, undisturbed[1].weights);
}

// Shares that are cut in the same slices give the same bits, with any number of processes.
TEST(DataParallelBits, AreThoseOfOneProcess) {
  const data::Dataset dataset = data::synthetic_digits({.train_count = 1536, .test_count = 100});
  const auto run = [&](const std::shared_ptr<ProcessGroup>& processes) {
    Trainer trainer(small_network(), {.learning_rate = 0.01, .seed = 3, .processes = processes});
    FitOptions fit;
    fit.epochs = 6;
    fit.batch_size = 512;
    trainer.fit(dataset, fit);
    return Outcome{{}, trainer.evaluate(dataset.test, 64), trainer.weights()};
  };
  const Outcome alone = run(nullptr);
  const auto together = in_processes(2, run);
  EXPECT_EQ(together[0].weights, alone.weights);
  EXPECT_EQ(together[1].weights, alone.weights);
}

// Each process changes the images of its own share.
TEST(DataParallelBits, AreThoseOfOneProcessWithAugmentation) {
  const data::Dataset dataset = data::synthetic_digits({.train_count = 1024, .test_count = 100});
  const auto run = [&](const std::shared_ptr<ProcessGroup>& processes) {
    Trainer trainer(small_network(), {.learning_rate = 0.01, .seed = 3, .processes = processes});
    FitOptions fit;
    fit.epochs = 2;
    fit.batch_size = 512;
    fit.augmentation = {.flip = true, .shift = 3};
    trainer.fit(dataset, fit);
    return Outcome{{}, trainer.evaluate(dataset.test, 64), trainer.weights()};
  };
  const Outcome alone = run(nullptr);
  const auto together = in_processes(2, run);
  EXPECT_EQ(together[0].weights, alone.weights);
  EXPECT_EQ(together[1].weights, alone.weights);
}

INSTANTIATE_TEST_SUITE_P(Paths, DataParallel, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Fused" : "Plain"; });

TEST(DataParallelErrors, ABatchTooSmallForTheProcessesIsASentence) {
  const data::Dataset dataset = digits();
  in_processes(2, [&](const auto& processes) {
    Trainer trainer(small_network(), {.processes = processes});
    FitOptions fit;
    fit.batch_size = 8;
    EXPECT_THROW(trainer.fit(dataset, fit), InvalidArgument);
    return Outcome{};
  });
}

TEST(DataParallelErrors, MeasuredRangesOfActivationsAreRefused) {
  graph::Model model = small_network();
  graph::LayerQuantization quantization;
  quantization.output = {.kind = graph::AffineKind::kMovingAverage};
  graph::set_quantization(model, model.layers[1].name, quantization);
  in_processes(2, [&](const auto& processes) {
    EXPECT_THROW(Trainer(model, {.processes = processes}), Unsupported);
    return Outcome{};
  });
}

TEST(DataParallelErrors, ProcessesWithOtherSettingsAreNamed) {
  struct Case {
    const char* message;
    std::function<void(CompileOptions&, FitOptions&, data::Dataset&)> change;  // of process 1
  };
  const Case cases[] = {
      {"process 1 has epochs 3, where process 0 has epochs 2.",
       [](CompileOptions&, FitOptions& fit, data::Dataset&) { fit.epochs = 3; }},
      {"process 1 has batch size 64, where process 0 has batch size 100.",
       [](CompileOptions&, FitOptions& fit, data::Dataset&) { fit.batch_size = 64; }},
      {"process 1 has optimizer sgd, where process 0 has optimizer adam.",
       [](CompileOptions& compile, FitOptions&, data::Dataset&) { compile.optimizer = OptimizerKind::kSgd; }},
      {"process 1 has learning rate 0.02, where process 0 has learning rate 0.01.",
       [](CompileOptions& compile, FitOptions&, data::Dataset&) { compile.learning_rate = 0.02; }},
      {"process 1 has seed 4, ", [](CompileOptions& compile, FitOptions&, data::Dataset&) { compile.seed = 4; }},
      {"process 1 has other options ",
       [](CompileOptions& compile, FitOptions&, data::Dataset&) { compile.reestimation_batches = 2; }},
      {"training samples 500, where process 0 has ",
       [](CompileOptions&, FitOptions&, data::Dataset& data) { data.train = data.train.slice(0, 500); }},
      {"process 1 has data set other, where process 0 has data set ",
       [](CompileOptions&, FitOptions&, data::Dataset& data) { data.name = "other"; }}};
  in_processes(2, [&](const std::shared_ptr<ProcessGroup>& processes) {
    for (const Case& c : cases) {
      CompileOptions compile = {.learning_rate = 0.01, .seed = 3, .processes = processes};
      FitOptions fit;
      fit.epochs = 2;
      fit.batch_size = 100;
      data::Dataset dataset = digits();
      if (!processes->is_first()) c.change(compile, fit, dataset);
      Trainer trainer(small_network(), compile);
      try {
        trainer.fit(dataset, fit);
        ADD_FAILURE() << "accepted: " << c.message;
      } catch (const InvalidArgument& refused) {
        EXPECT_NE(std::string(refused.what()).find(c.message), std::string::npos) << refused.what();
      }
    }
    return Outcome{};
  });
}

TEST(DataParallelErrors, AProcessThatEndsIsASentenceForTheOthers) {
  const data::Dataset dataset = digits();
  in_processes(2, [&](const auto& processes) {
    if (!processes->is_first()) return Outcome{};
    EXPECT_THROW(train(dataset, true, processes), ProcessLost);
    return Outcome{};
  });
}

}  // namespace
}  // namespace nibble::train
