#include "nibble/experiment/cell_queue.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "nibble/core/error.h"
#include "nibble/experiment/cell_runner.h"
#include "support/golden.h"

namespace nibble::experiment {
namespace {

namespace fs = std::filesystem;

class Queue : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.datasets = {"cifar10"};
    options_.methods = {Method::kPtq};
    options_.bits = {4};
    options_.seeds = 1;
    cells_ = cells_of(options_);
  }

  QueueHooks recording() {
    return {.compute =
                [this](const Cell& cell) {
                  order_.push_back(cell.key());
                  return CellResult{.accuracy = 50};
                },
            .poll = std::chrono::milliseconds(1)};
  }

  const fs::path directory_ = testing::scratch_dir("cell_queue");
  PtqQatOptions options_;
  std::vector<Cell> cells_;  // cnn float, cnn ptq, cnn_bn float, cnn_bn ptq
  std::vector<std::string> order_;
};

TEST_F(Queue, ComputesWhatIsNotFinishedInOrder) {
  const CellStore store(directory_);
  ASSERT_EQ(cells_.size(), 4u);
  store.save(cells_[1], options_, {.accuracy = 7});
  QueueHooks hooks = recording();
  std::vector<size_t> done;
  hooks.before_cell = [&](const Cell&, size_t count) { done.push_back(count); };
  EXPECT_TRUE(compute_cells(cells_, options_, store, hooks));
  EXPECT_EQ(order_, (std::vector{cells_[0].key(), cells_[2].key(), cells_[3].key()}));
  EXPECT_EQ(done, (std::vector<size_t>{1, 2, 3}));
  const auto finished = finished_cells(cells_, options_, store);
  ASSERT_EQ(finished.size(), 4u);
  EXPECT_EQ(finished[1].result.accuracy, 7);
  EXPECT_EQ(finished[3].result.accuracy, 50);
}

TEST_F(Queue, WaitsForACellThatAnotherComputes) {
  const CellStore store(directory_), others(directory_);
  std::optional<CellLock> held = others.try_lock(cells_[1]);
  ASSERT_TRUE(held);
  QueueHooks hooks = recording();
  int waits = 0;
  hooks.on_wait = [&](size_t left) {
    ++waits;
    EXPECT_EQ(left, 1u);
    others.save(cells_[1], options_, {.accuracy = 7});
    held.reset();
  };
  EXPECT_TRUE(compute_cells(cells_, options_, store, hooks));
  EXPECT_EQ(waits, 1);
  EXPECT_EQ(order_, (std::vector{cells_[0].key(), cells_[2].key(), cells_[3].key()}));
}

// Another process trains a float network: what starts from it comes later, and is not given up.
TEST_F(Queue, CellsOfANetworkInTrainingComeLater) {
  const CellStore store(directory_), others(directory_);
  std::optional<CellLock> held = others.try_lock(cells_[0]);
  ASSERT_TRUE(held);
  QueueHooks hooks = recording();
  hooks.on_wait = [&](size_t left) {
    EXPECT_EQ(left, 2u);
    held.reset();  // it ended before it was done
  };
  EXPECT_TRUE(compute_cells(cells_, options_, store, hooks));
  EXPECT_EQ(order_, (std::vector{cells_[2].key(), cells_[3].key(), cells_[0].key(), cells_[1].key()}));
}

TEST_F(Queue, StopsAndGivesTheCellBack) {
  const CellStore store(directory_);
  std::atomic<bool> stop = true;
  QueueHooks hooks = recording();
  hooks.stop = &stop;
  EXPECT_FALSE(compute_cells(cells_, options_, store, hooks));
  EXPECT_TRUE(order_.empty());
  stop = false;
  hooks.compute = [](const Cell&) -> CellResult { throw Stopped{}; };
  EXPECT_FALSE(compute_cells(cells_, options_, store, hooks));
  EXPECT_TRUE(finished_cells(cells_, options_, store).empty());
  EXPECT_TRUE(store.try_lock(cells_[0]));
}

TEST_F(Queue, SeveralAtOnceComputeEachCellOnceAndNoNetworkTwice) {
  options_.datasets = {"cifar10", "fashion_mnist"};
  options_.bits = {4, 6, 8};
  options_.seeds = 3;
  cells_ = cells_of(options_);
  std::mutex mutex;
  std::map<std::string, int> times;
  std::set<std::string> networks;  // being computed now; none is ever finished, so that each cell would train it
  const auto work = [&] {
    const CellStore store(directory_);
    const QueueHooks hooks{.compute =
                               [&](const Cell& cell) {
                                 const std::string network = float_cell(cell).key();
                                 {
                                   const std::lock_guard guard(mutex);
                                   ++times[cell.key()];
                                   EXPECT_TRUE(networks.insert(network).second) << cell.key();
                                 }
                                 std::this_thread::sleep_for(std::chrono::milliseconds(1));
                                 const std::lock_guard guard(mutex);
                                 networks.erase(network);
                                 return CellResult{};
                               },
                           .poll = std::chrono::milliseconds(1)};
    EXPECT_TRUE(compute_cells(cells_, options_, store, hooks));
    EXPECT_EQ(finished_cells(cells_, options_, store).size(), cells_.size());
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(times.size(), cells_.size());
  for (const auto& [key, count] : times) EXPECT_EQ(count, 1) << key;
}

TEST_F(Queue, AKilledProcessHoldsNothing) {
  const CellStore store(directory_);
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto held = store.try_lock(cells_[0]);
    const char answer = held ? 'y' : 'n';
    if (write(ready[1], &answer, 1) != 1) _exit(1);
    for (;;) pause();
  }
  char answer = 0;
  ASSERT_EQ(read(ready[0], &answer, 1), 1);
  EXPECT_EQ(answer, 'y');
  EXPECT_FALSE(store.try_lock(cells_[0]));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_TRUE(store.try_lock(cells_[0]));
  close(ready[0]);
  close(ready[1]);
}

}  // namespace
}  // namespace nibble::experiment
