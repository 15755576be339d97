// Trainings with the real program that are stopped or killed, and gone on with.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <sstream>
#include <thread>

#include "nibble/core/atomic_file.h"
#include "search_workplace.h"
#include "support/busy_machine.h"
#include "support/reserved_port.h"

namespace nibble::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const SearchWorkplace& place() { return SearchWorkplace::get(); }

std::vector<std::string> train(const fs::path& output, const std::vector<std::string>& more = {}) {
  static const std::string quantizers = [] {
    const fs::path path = place().dir() / "quantizers.json";
    write_file(path, R"json({"QConv2D": {"kernel_quantizer": "quantized_bits(4,0,1)",
                                         "bias_quantizer": "quantized_bits(4,0,1)"},
                             "QDense": {"kernel_quantizer": "stochastic_ternary", "bias_quantizer": "quantized_bits(4)"},
                             "QActivation": {"relu": "quantized_relu(4)"}})json");
    return path.string();
  }();
  std::vector<std::string> words = {"train",
                                    "mnist",
                                    "--data",
                                    "mnist",
                                    "--output",
                                    output.string(),
                                    "--epochs",
                                    "12",
                                    "--batch-size",
                                    "50",
                                    "--lr",
                                    "0.01",
                                    "--seed",
                                    "5",
                                    "--schedule",
                                    "cosine",
                                    "--early-stopping",
                                    "11",
                                    "--quantize",
                                    quantizers};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

const std::string& undisturbed() {
  static const std::string model = [] {
    ChildProcess training = place().start(train(place().dir() / "whole"));
    EXPECT_EQ(training.wait(), 0) << training.err();
    return read_file(place().dir() / "whole/model.keras");
  }();
  return model;
}

// Until the first epoch is kept.
void wait_for_checkpoint(const fs::path& output, ChildProcess& training) {
  while (training.is_running() && !fs::exists(output / "checkpoint.nibble")) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

// The last column is how long each epoch took.
std::vector<std::string> history_without_seconds(const fs::path& output) {
  std::vector<std::string> lines;
  std::istringstream log(read_file(output / "history.csv"));
  for (std::string line; std::getline(log, line);) lines.push_back(line.substr(0, line.rfind(',')));
  return lines;
}

void resume_and_compare(const fs::path& output) {
  ChildProcess training = place().start(train(output, {"--resume"}));
  ASSERT_EQ(training.wait(), 0) << training.err();
  EXPECT_TRUE(read_file(output / "model.keras") == undisturbed()) << "model.keras differs";
  EXPECT_EQ(history_without_seconds(output), history_without_seconds(place().dir() / "whole"));
}

TEST(Training, StoppedByCtrlCAndGoneOnWithGivesTheSameBytes) {
  undisturbed();
  EXPECT_TRUE(is_caught([](int number) {
    const fs::path output = place().dir() / ("stopped_" + std::to_string(number));
    ChildProcess training = place().start(train(output));
    wait_for_checkpoint(output, training);
    training.signal_group(SIGINT);
    if (training.wait() == 0) return false;
    EXPECT_EQ(training.wait(), 130) << training.err();
    EXPECT_THAT(training.err(), HasSubstr("--resume"));
    EXPECT_TRUE(fs::exists(output / "model.keras")) << "the present weights";
    EXPECT_THAT(half_written(output), IsEmpty());
    resume_and_compare(output);
    return true;
  })) << "each training was over before it could be stopped";
}

TEST(Training, KilledAndGoneOnWithGivesTheSameBytes) {
  undisturbed();
  EXPECT_TRUE(is_caught([](int number) {
    const fs::path output = place().dir() / ("killed_" + std::to_string(number));
    ChildProcess training = place().start(train(output));
    wait_for_checkpoint(output, training);
    training.signal_group(SIGKILL);
    if (training.wait() == 0 || fs::exists(output / "model.keras")) return false;  // its last epoch was over
    EXPECT_EQ(training.wait(), 128 + SIGKILL) << training.err();
    resume_and_compare(output);
    return true;
  })) << "each training was over before it could be killed";
}

// Twelve epochs; what a stop in between leaves is seen in nibble/train/validation_freq_test.cc.
TEST(Training, MayValidateNowAndThen) {
  const fs::path output = place().dir() / "sparse";
  ChildProcess training = place().start(train(output, {"--validation-freq", "5"}));
  ASSERT_EQ(training.wait(), 0) << training.err();
  const std::vector<std::string> lines = history_without_seconds(output);
  ASSERT_EQ(lines.size(), 13u);
  for (size_t epoch = 1; epoch <= 12; ++epoch) {
    EXPECT_EQ(lines[epoch].ends_with(",,"), epoch != 5 && epoch != 10 && epoch != 12) << lines[epoch];
  }
  ChildProcess none = place().start(train(place().dir() / "never", {"--validation-freq", "0"}));
  EXPECT_NE(none.wait(), 0);
  EXPECT_THAT(none.err(), HasSubstr("--validation-freq"));
}

TEST(Training, AnotherCommandDoesNotGoOnWithItsCheckpoint) {
  const fs::path output = place().dir() / "other";
  ChildProcess training = place().start(train(output));
  wait_for_checkpoint(output, training);
  training.signal_group(SIGKILL);
  training.wait();
  ChildProcess other = place().start(train(output, {"--resume", "--optimizer", "sgd"}));
  EXPECT_EQ(other.wait(), 1);
  EXPECT_THAT(other.err(), HasSubstr("checkpoint"));
}

// One of two processes that a launcher starts.
ChildProcess start_process(int rank, int port, const std::vector<std::string>& command,
                           const std::vector<std::string>& environment = {}) {
  std::vector<std::string> variables = {"RANK=" + std::to_string(rank), "WORLD_SIZE=2", "MASTER_ADDR=127.0.0.1",
                                        "MASTER_PORT=" + std::to_string(port)};
  variables.insert(variables.end(), environment.begin(), environment.end());
  return place().start(command, {.environment = variables});
}

TEST(DataParallelTraining, RefusesProcessesWithOtherOptions) {
  const ReservedPort port;
  ChildProcess first = start_process(0, port.number(), train(place().dir() / "unlike"));
  ChildProcess second = start_process(1, port.number(), train(place().dir() / "unlike", {"--validation-freq", "2"}));
  for (ChildProcess* process : {&first, &second}) {
    EXPECT_EQ(process->wait(), 1);
    EXPECT_THAT(process->err(),
                HasSubstr("process 1 has --validation-freq 2, where process 0 has --validation-freq 1"));
  }
}

TEST(DataParallelTraining, SaysWhoDidNotCome) {
  // After five seconds it says whom it waits for; where the machine lets it do that later only, it needs more of them.
  for (const char* seconds : {"7", "30", "200"}) {
    const ReservedPort port;
    const std::string where = "127.0.0.1:" + std::to_string(port.number());
    const std::string notice = "waiting for 2 processes at " + where + " (1 of 2 here; missing: process 1)\n";
    ChildProcess first = start_process(0, port.number(), train(place().dir() / "lonely"),
                                       {std::string("NIBBLE_JOIN_TIMEOUT=") + seconds});
    EXPECT_EQ(first.wait(), 1);
    const std::string said = first.err();
    if (said.find(notice) == std::string::npos && std::string(seconds) != "200") continue;
    EXPECT_THAT(said, HasSubstr(notice));
    EXPECT_THAT(said, HasSubstr("waited for " + std::string(seconds) + " s at " + where + ": process 1 did not come."));
    break;
  }
}

TEST(DataParallelTraining, IsNotATrainingAloneWhereTheNumberOfProcessesIsNotSaid) {
  ChildProcess training = place().start(train(place().dir() / "half"), {.environment = {"RANK=1"}});
  EXPECT_EQ(training.wait(), 1);
  EXPECT_THAT(training.err(), HasSubstr("RANK is '1', but WORLD_SIZE is not set"));
}

}  // namespace
}  // namespace nibble::testing
