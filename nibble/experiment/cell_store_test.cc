#include "nibble/experiment/cell_store.h"

#include <gtest/gtest.h>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "support/golden.h"

namespace nibble::experiment {
namespace {

namespace fs = std::filesystem;

class Store : public ::testing::Test {
 protected:
  const fs::path directory_ = testing::scratch_dir("cell_store");
  const Cell cell_{.dataset = "cifar10", .with_batch_norm = true, .method = Method::kPtq, .bits = 6, .seed = 2};
  const PtqQatOptions options_;
};

TEST_F(Store, GivesBackWhatWasSaved) {
  EXPECT_FALSE(CellStore(directory_).find(cell_, options_));
  CellStore(directory_)
      .save(cell_, options_, {.accuracy = 71.25, .seconds = 3.5, .saturated_biases = 0.25, .samples = 100});
  const auto found = CellStore(directory_).find(cell_, options_);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->accuracy, 71.25);
  EXPECT_EQ(found->saturated_biases, 0.25);
  EXPECT_EQ(found->samples, 100);
}

TEST_F(Store, ACellHasOneHolder) {
  const CellStore store(directory_), other(directory_);
  {
    const auto held = store.try_lock(cell_);
    ASSERT_TRUE(held);
    EXPECT_FALSE(other.try_lock(cell_));
    Cell next = cell_;
    next.bits = 8;
    EXPECT_TRUE(other.try_lock(next));
  }
  EXPECT_TRUE(other.try_lock(cell_));
}

TEST_F(Store, RefusesToMixSettings) {
  const CellStore store(directory_);
  store.save(cell_, options_, {});
  PtqQatOptions others = options_;
  others.epochs = 3;
  EXPECT_THROW(store.find(cell_, others), InvalidArgument);
  EXPECT_NE(store.model_path(cell_, others), store.model_path(cell_, options_));
  EXPECT_NE(store.checkpoint_path(cell_, others), store.checkpoint_path(cell_, options_));
  others = options_;
  others.augmentation.flip = true;
  EXPECT_THROW(store.find(cell_, others), InvalidArgument);
  EXPECT_NE(store.model_path(cell_, others), store.model_path(cell_, options_));
}

TEST_F(Store, DamagedCellsAreTold) {
  const CellStore store(directory_);
  const fs::path file = directory_ / "cells" / (cell_.key() + ".json");
  store.save(cell_, options_, {});
  const std::string whole = read_file(file);
  for (const std::string& text : {std::string("{"), std::string("[]"), std::string("{\"accuracy\": 1}"),
                                  whole.substr(0, whole.size() / 2), std::string()}) {
    write_file(file, text);
    EXPECT_THROW(store.find(cell_, options_), CorruptFile) << text;
  }
  std::string wrong = whole;
  wrong.replace(wrong.find("\"accuracy\": 0.0"), 15, "\"accuracy\": \"x\"");
  write_file(file, wrong);
  EXPECT_THROW(store.find(cell_, options_), CorruptFile);
}

}  // namespace
}  // namespace nibble::experiment
