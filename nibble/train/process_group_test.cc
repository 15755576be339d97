#include "nibble/train/process_group.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <map>

#include "nibble/train/joined_groups.h"
#include "support/reserved_port.h"

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

class Place : public ::testing::TestWithParam<PlaceCase> {};

TEST_P(Place, IsWhatTheLauncherSays) {
  EXPECT_EQ(place_of_process(environment_of(GetParam().variables)), GetParam().place);
}

INSTANTIATE_TEST_SUITE_P(
    Launchers, Place,
    ::testing::Values(
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
        PlaceCase{"SbatchScript", {{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}}, std::nullopt},
        // Scripts of sbatch often export it for Python.
        PlaceCase{"SrunWithAWorldSize",
                  {{"WORLD_SIZE", "2"},
                   {"SLURM_PROCID", "1"},
                   {"SLURM_STEP_NUM_TASKS", "2"},
                   {"SLURM_STEP_NUM_NODES", "1"},
                   {"MASTER_PORT", "777"}},
                  ProcessPlace{1, 2, "127.0.0.1", 777}}),
    [](const auto& info) { return info.param.name; });

struct BadPlaceCase {
  const char* name;
  Variables variables;
  const char* message;
};

class BadPlace : public ::testing::TestWithParam<BadPlaceCase> {};

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
    ::testing::Values(BadPlaceCase{"NoNumber", {{"RANK", "one"}, {"WORLD_SIZE", "2"}}, "RANK is 'one'"},
                      BadPlaceCase{"RankTooLarge", {{"RANK", "2"}, {"WORLD_SIZE", "2"}}, "from 0 to 1"},
                      BadPlaceCase{"NoRank", {{"WORLD_SIZE", "2"}}, "WORLD_SIZE is '2', but RANK is not set"},
                      BadPlaceCase{"NoRankOfOne", {{"WORLD_SIZE", "1"}}, "WORLD_SIZE is '1', but RANK is not set"},
                      BadPlaceCase{"NoSize", {{"RANK", "1"}}, "RANK is '1', but WORLD_SIZE is not set"},
                      BadPlaceCase{"NoSizeForTheFirst", {{"RANK", "0"}}, "RANK is '0', but WORLD_SIZE is not set"},
                      BadPlaceCase{"NoSizeOfMpirun",
                                   {{"OMPI_COMM_WORLD_RANK", "1"}},
                                   "OMPI_COMM_WORLD_RANK is '1', but OMPI_COMM_WORLD_SIZE is not set"},
                      BadPlaceCase{"NoSizeOfMpich", {{"PMI_RANK", "1"}}, "PMI_RANK is '1', but PMI_SIZE is not set"},
                      BadPlaceCase{"NoRankOfSrun",
                                   {{"SLURM_STEP_NUM_TASKS", "2"}},
                                   "SLURM_STEP_NUM_TASKS is '2', but SLURM_PROCID is not set"},
                      BadPlaceCase{"SecondOfOne", {{"RANK", "1"}, {"WORLD_SIZE", "1"}}, "RANK is '1'"},
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
void in_processes(int size, const Work& work) {
  std::vector<std::future<void>> working;
  for (const auto& group : joined_groups(size)) {
    working.push_back(std::async(std::launch::async, [&work, group] { work(*group); }));
  }
  for (auto& process : working) process.get();
}

TEST(ProcessGroupTest, SumsAreTheSameEverywhere) {
  in_processes(3, [](ProcessGroup& group) {
    std::vector<double> values = {1.0 + group.rank(), 0.5};
    group.sum(values);
    EXPECT_EQ(values, (std::vector<double>{6.0, 1.5}));
    std::vector<float> floats(1000, static_cast<float>(group.rank()));
    group.sum(floats);
    EXPECT_EQ(floats, std::vector<float>(1000, 3.0f));
  });
}

TEST(ProcessGroupTest, GathersTheTextsOfAll) {
  const std::vector<std::string> texts = {"of 0", "", "\xff\n of 2"};
  in_processes(3, [&](ProcessGroup& group) {
    EXPECT_EQ(group.gather(texts[static_cast<size_t>(group.rank())]), texts);
    EXPECT_EQ(group.gather(""), std::vector<std::string>(3));
  });
}

TEST(JoinDeadline, IsFiveMinutesOrWhatIsGiven) {
  EXPECT_EQ(join_deadline(environment_of({})), std::chrono::minutes(5));
  EXPECT_EQ(join_deadline(environment_of({{"NIBBLE_JOIN_TIMEOUT", "20"}})), std::chrono::seconds(20));
  for (const char* bad : {"0", "soon", "1.5", "86401"}) {
    EXPECT_THROW(join_deadline(environment_of({{"NIBBLE_JOIN_TIMEOUT", bad}})), InvalidArgument) << bad;
  }
}

// How an attempt to join ended that cannot succeed.
struct Attempt {
  bool is_lost = false;  // ProcessLost; else InvalidArgument
  std::string message;
  std::vector<std::string> notices;
};

constexpr std::chrono::minutes kLongest{4};

Attempt attempt(const ProcessPlace& place, std::chrono::seconds deadline, const std::atomic<bool>* stop = nullptr) {
  Attempt result;
  const JoinOptions join = {.deadline = deadline,
                            .notice_after = std::chrono::milliseconds(200),
                            .notice = [&](const std::string& line) { result.notices.push_back(line); },
                            .stop = stop};
  const auto started = std::chrono::steady_clock::now();
  try {
    const ProcessGroup group(place, kLongest, join);
    ADD_FAILURE() << "joined";
  } catch (const ProcessLost& lost) {
    result.is_lost = true;
    result.message = lost.what();
  } catch (const InvalidArgument& refused) {
    result.message = refused.what();
  }
  // A call of c10d or Gloo by itself would wait for as long as it is allowed to.
  EXPECT_LT(std::chrono::steady_clock::now() - started, kLongest);
  EXPECT_EQ(result.message.find('\n'), std::string::npos) << result.message;
  return result;
}

struct RankOf {
  int rank, size;
};

// Of several at once, in their order.
struct Attempts {
  std::string where;  // they were to meet
  std::string time;   // that they had
  std::vector<Attempt> came;
};

// What they say follows from what they saw of one another before their deadline. Where other programs have the
// machine, that may be nothing; then they are given more time, until `have_met` or they have had plenty.
template <class Condition>
Attempts attempts(const std::vector<RankOf>& processes, const Condition& have_met) {
  Attempts result;
  for (const int seconds : {2, 10, 60}) {
    const std::chrono::seconds deadline(seconds);
    const testing::ReservedPort port;
    std::vector<std::future<Attempt>> joining;
    for (const auto& [rank, size] : processes) {
      const ProcessPlace place = {rank, size, "127.0.0.1", port.number()};
      joining.push_back(std::async(std::launch::async, [place, deadline] { return attempt(place, deadline); }));
    }
    result = {fmt::format("127.0.0.1:{}", port.number()), fmt::format("{} s", seconds), {}};
    for (auto& process : joining) result.came.push_back(process.get());
    if (have_met(result.came)) break;
  }
  return result;
}

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// A program that listens and never answers.
class Listener {
 public:
  Listener() : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(socket_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(socket_, 16), 0);
    EXPECT_EQ(::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  ~Listener() { ::close(socket_); }
  uint16_t port() const { return port_; }

 private:
  int socket_;
  uint16_t port_ = 0;
};

TEST(Joining, SaysThatTheFirstProcessIsNotThere) {
  const auto was_refused = [](const std::vector<Attempt>& came) {
    return !came[0].notices.empty() && holds(came[0].notices.back(), "refused");
  };
  const auto [where, time, came] = attempts({{1, 2}}, was_refused);
  const Attempt& alone = came[0];
  EXPECT_TRUE(alone.is_lost);
  EXPECT_TRUE(holds(alone.message, fmt::format("process 1 of 2 waited for {} at {}: process 0 does not listen there "
                                               "(Connection refused)",
                                               time, where)))
      << alone.message;
  EXPECT_TRUE(holds(alone.message, "NIBBLE_JOIN_TIMEOUT")) << alone.message;
  ASSERT_FALSE(alone.notices.empty());
  EXPECT_EQ(alone.notices.back(), fmt::format("process 1 of 2 waits for process 0 at {} (Connection refused)", where));
}

TEST(Joining, SaysWhoIsMissing) {
  const auto have_met = [](const std::vector<Attempt>& came) {
    return !came[0].notices.empty() && holds(came[0].notices.back(), "2 of 4 here") && holds(came[1].message, "1, 3");
  };
  const auto [where, time, came] = attempts({{0, 4}, {2, 4}}, have_met);
  for (const Attempt& process : came) {
    EXPECT_TRUE(process.is_lost);
    EXPECT_TRUE(holds(process.message, "processes 1, 3")) << process.message;
  }
  EXPECT_TRUE(holds(came[0].message, fmt::format("waited for {} at {}: processes 1, 3 did not come", time, where)))
      << came[0].message;
  ASSERT_FALSE(came[0].notices.empty());
  EXPECT_EQ(came[0].notices.back(),
            fmt::format("waiting for 4 processes at {} (2 of 4 here; missing: processes 1, 3)", where));
}

TEST(Joining, RefusesAnotherNumberOfProcesses) {
  const auto came = attempts({{0, 2}, {1, 3}}, [](const std::vector<Attempt>& all) { return !all[1].is_lost; }).came;
  EXPECT_TRUE(holds(came[0].message, "process 1 did not come")) << came[0].message;
  EXPECT_FALSE(came[1].is_lost);
  EXPECT_TRUE(holds(came[1].message, "process 1 was started as one of 3, but process 0")) << came[1].message;
}

TEST(Joining, RefusesARankThatIsTaken) {
  const auto is_one_refused = [](const std::vector<Attempt>& all) { return all[1].is_lost != all[2].is_lost; };
  const auto came = attempts({{0, 3}, {1, 3}, {1, 3}}, is_one_refused).came;
  EXPECT_TRUE(came[0].is_lost);
  EXPECT_NE(came[1].is_lost, came[2].is_lost) << came[1].message << "\n" << came[2].message;
  const std::string& refused = came[1].is_lost ? came[2].message : came[1].message;
  EXPECT_TRUE(holds(refused, "were started as process 1 of 3")) << refused;
}

TEST(Joining, OutlivesAnotherProgramAtThePort) {
  // Never closed: a connection that is reset ends the program from a thread of c10d's, and the follower's is left to
  // itself in a call.
  static const Listener& other = *new Listener;
  const Attempt follower = attempt({1, 2, "127.0.0.1", other.port()}, std::chrono::seconds(2));
  EXPECT_TRUE(holds(follower.message, "what listens there does not answer as process 0 does")) << follower.message;
  const Attempt first = attempt({0, 2, "127.0.0.1", other.port()}, std::chrono::minutes(3));
  EXPECT_TRUE(first.is_lost);
  EXPECT_TRUE(holds(first.message, "process 0 of 2 could not listen at 127.0.0.1")) << first.message;
}

TEST(Joining, IsStoppedByTheUser) {
  const testing::ReservedPort port;
  const std::atomic<bool> stop = true;
  const Attempt stopped = attempt({0, 2, "127.0.0.1", port.number()}, std::chrono::minutes(3), &stop);
  EXPECT_TRUE(stopped.is_lost);
  EXPECT_TRUE(holds(stopped.message, "process 0 of 2 was stopped while it waited at")) << stopped.message;
}

}  // namespace
}  // namespace nibble::train
