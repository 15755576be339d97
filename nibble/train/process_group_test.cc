#include "nibble/train/process_group.h"

#include <gtest/gtest.h>

#include <map>

#include "nibble/train/joined_groups.h"

namespace nibble::train {
namespace {

using Variables = std::map<std::string, std::string>;

Environment environment_of(const Variables& variables) {
  return [variables](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  };
}

struct PlaceCase {
  const char* name;
  Variables variables;
  std::optional<ProcessPlace> place;
};

class Place : public testing::TestWithParam<PlaceCase> {};

TEST_P(Place, IsWhatTheLauncherSays) {
  EXPECT_EQ(place_of_process(environment_of(GetParam().variables)), GetParam().place);
}

INSTANTIATE_TEST_SUITE_P(
    Launchers, Place,
    testing::Values(
        PlaceCase{"Alone", {}, std::nullopt}, PlaceCase{"OnlyOne", {{"RANK", "0"}, {"WORLD_SIZE", "1"}}, std::nullopt},
        PlaceCase{"Torchrun",
                  {{"RANK", "1"}, {"WORLD_SIZE", "4"}, {"MASTER_ADDR", "node1"}, {"MASTER_PORT", "1234"}},
                  ProcessPlace{1, 4, "node1", 1234}},
        PlaceCase{"MpirunOnOneHost",
                  {{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "2"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}},
                  ProcessPlace{1, 2, "127.0.0.1", 29500}},
        PlaceCase{"MpichOnSeveralHosts",
                  {{"PMI_RANK", "3"}, {"PMI_SIZE", "8"}, {"MASTER_ADDR", "10.0.0.1"}, {"MASTER_PORT", "999"}},
                  ProcessPlace{3, 8, "10.0.0.1", 999}},
        PlaceCase{"SrunOnOneNode",
                  {{"SLURM_PROCID", "0"},
                   {"SLURM_STEP_NUM_TASKS", "2"},
                   {"SLURM_STEP_NUM_NODES", "1"},
                   {"MASTER_PORT", "777"}},
                  ProcessPlace{0, 2, "127.0.0.1", 777}},
        // The script of sbatch itself is one process, however many tasks the job may start.
        PlaceCase{"SbatchScript", {{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}}, std::nullopt}),
    [](const auto& info) { return info.param.name; });

struct BadPlaceCase {
  const char* name;
  Variables variables;
  const char* message;
};

class BadPlace : public testing::TestWithParam<BadPlaceCase> {};

TEST_P(BadPlace, IsRefusedWithASentence) {
  try {
    place_of_process(environment_of(GetParam().variables));
    FAIL() << "accepted";
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find(GetParam().message), std::string::npos) << error.what();
  }
}

INSTANTIATE_TEST_SUITE_P(
    Launchers, BadPlace,
    testing::Values(BadPlaceCase{"NoNumber", {{"RANK", "one"}, {"WORLD_SIZE", "2"}}, "RANK is 'one'"},
                    BadPlaceCase{"RankTooLarge", {{"RANK", "2"}, {"WORLD_SIZE", "2"}}, "from 0 to 1"},
                    BadPlaceCase{"NoRank", {{"WORLD_SIZE", "2"}}, "RANK is not set"},
                    BadPlaceCase{"ZeroProcesses", {{"WORLD_SIZE", "0"}}, "WORLD_SIZE is '0'"},
                    BadPlaceCase{"SeveralHosts", {{"PMI_RANK", "0"}, {"PMI_SIZE", "2"}}, "MASTER_ADDR"},
                    BadPlaceCase{"BadPort",
                                 {{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}, {"MASTER_PORT", "70000"}},
                                 "MASTER_PORT"}),
    [](const auto& info) { return info.param.name; });

TEST(ProcessPlace, JobsOnOneHostGetPortsOfTheirOwn) {
  Variables variables = {{"OMPI_COMM_WORLD_RANK", "0"},
                         {"OMPI_COMM_WORLD_SIZE", "2"},
                         {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                         {"PMIX_NAMESPACE", "4001"}};
  const auto first = place_of_process(environment_of(variables));
  variables["PMIX_NAMESPACE"] = "4002";
  EXPECT_NE(first->port, place_of_process(environment_of(variables))->port);
}

TEST(Shares, CoverTheBatchInWholeUnits) {
  for (const int64_t batch : {16, 17, 64, 100, 1024}) {
    for (const int size : {1, 2}) {
      int64_t next = 0;
      for (int rank = 0; rank < size; ++rank) {
        const Share share = share_of(batch, rank, size, 8);
        EXPECT_EQ(share.first, next);
        EXPECT_EQ(share.first % 8, 0);
        EXPECT_GT(share.count, 0);
        next += share.count;
      }
      EXPECT_EQ(next, batch);
    }
  }
  EXPECT_THROW(share_of(8, 0, 2, 8), InvalidArgument);
}

TEST(Shares, HaveUnitsAsLargeAsEvenSharesAllow) {
  struct Case {
    int64_t batch;
    int size;
    int64_t unit;
  };
  const Case cases[] = {{1024, 1, 256}, {1024, 2, 256}, {1024, 4, 256}, {1024, 3, 128}, {608, 2, 256},
                        {100, 2, 16},   {16, 2, 8},     {8, 2, 8},      {17, 3, 8}};
  for (const Case& c : cases) EXPECT_EQ(unit_of_shares(c.batch, c.size, 8, 256), c.unit) << c.batch << "/" << c.size;
}

// Runs `work` in as many threads as there are processes, each with its own group.
template <class Work>
void in_processes(int size, uint16_t port, const Work& work) {
  std::vector<std::future<void>> working;
  for (const auto& group : joined_groups(size, port, std::chrono::seconds(20))) {
    working.push_back(std::async(std::launch::async, [&work, group] { work(*group); }));
  }
  for (auto& process : working) process.get();
}

TEST(ProcessGroupTest, SumsAreTheSameEverywhere) {
  in_processes(3, 29731, [](ProcessGroup& group) {
    std::vector<double> values = {1.0 + group.rank(), 0.5};
    group.sum(values);
    EXPECT_EQ(values, (std::vector<double>{6.0, 1.5}));
    std::vector<float> floats(1000, static_cast<float>(group.rank()));
    group.sum(floats);
    EXPECT_EQ(floats, std::vector<float>(1000, 3.0f));
  });
}

TEST(ProcessGroupTest, APartnerThatDoesNotComeIsASentence) {
  EXPECT_THROW(ProcessGroup({1, 2, "127.0.0.1", 29733}, std::chrono::seconds(1)), ProcessLost);
}

}  // namespace
}  // namespace nibble::train
