// Written by nibble, read by a reader that shares nothing with it (tests/read_events.py).
#include "nibble/report/event_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "support/event_reader.h"
#include "support/golden.h"

namespace nibble::report {
namespace {

using nlohmann::json;

json read(const std::filesystem::path& directory) {
  return testing::read_events(NIBBLE_SOURCE_DIR "/tests/read_events.py", directory);
}

class EventFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::system("python3 -c '' 2>/dev/null") != 0) GTEST_SKIP() << "python3 was not found";
  }
};

TEST(Crc32c, HasThePublishedValues) {
  // RFC 3720, appendix B.4, and the check value of the CRC catalogues.
  EXPECT_EQ(crc32c(""), 0u);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
}

TEST_F(EventFiles, AreReadBackByAnIndependentReader) {
  const auto directory = testing::scratch_dir("events");
  double now = 1'700'000'000.25;
  EventFile file(directory / "train", [&] { return now; });
  EXPECT_NE(file.path().filename().string().find("events.out.tfevents.1700000000."), std::string::npos);
  now += 1;
  file.write(1, {{"epoch_loss", 0.5}, {"epoch_accuracy", 0.0}});
  file.write(int64_t{1} << 40, {{"epoch_loss", 1.0 / 3.0}});
  file.write(3, {});
  const json events = read(directory);
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0].at("version"), "brain.Event:2");
  EXPECT_EQ(events[0].at("wall_time"), 1'700'000'000.25);
  EXPECT_EQ(events[1], json({{"run", "train"},
                             {"step", 1},
                             {"wall_time", 1'700'000'001.25},
                             {"scalars", {{"epoch_loss", 0.5}, {"epoch_accuracy", 0.0}}}}));
  EXPECT_EQ(events[2].at("step"), int64_t{1} << 40);
  EXPECT_EQ(events[2].at("scalars").at("epoch_loss").get<float>(), 1.0f / 3.0f);
}

TEST_F(EventFiles, SeveralOfOneDirectoryAreOneRunInOrder) {
  const auto directory = testing::scratch_dir("event_order");
  double now = 999'999'999;  // one digit less than the next: names still sort by time
  for (int step = 1; step <= 3; ++step) {
    EventFile(directory, [&] { return now; }).write(step, {{"x", 1.0 * step}});
    now += 1;
  }
  std::vector<int> steps;
  for (const json& event : read(directory)) {
    if (!event.contains("version")) steps.push_back(event.at("step"));
  }
  EXPECT_EQ(steps, (std::vector<int>{1, 2, 3}));
}

TEST_F(EventFiles, DamageIsSeen) {
  const auto directory = testing::scratch_dir("event_damage");
  EventFile file(directory);
  file.write(1, {{"x", 1.0}});
  std::string bytes = read_file(file.path());
  bytes[bytes.size() - 6] ^= 1;
  write_file(file.path(), bytes);
  EXPECT_THROW(read(directory), std::runtime_error);
}

TEST(EventFile, ADirectoryThatCannotBeMadeIsNamed) {
  const auto directory = testing::scratch_dir("event_refused");
  write_file(directory / "file", "");
  try {
    EventFile(directory / "file" / "inside");
    ADD_FAILURE() << "no error";
  } catch (const IoError& error) {
    EXPECT_NE(std::string(error.what()).find("file/inside"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace nibble::report
