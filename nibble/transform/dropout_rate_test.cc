#include "nibble/transform/dropout_rate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "nibble/core/error.h"
#include "nibble/graph/builder_activation.h"

namespace nibble::transform {
namespace {

using namespace graph::build;

graph::Model with_every_dropout() {
  const auto in = Input({.shape = {4, 4, 2}});
  auto x = SpatialDropout2D({.rate = 0.1, .name = "spatial"})(in);
  x = GaussianDropout({.rate = 0.2, .name = "gaussian"})(x);
  x = AlphaDropout({.rate = 0.3, .name = "alpha"})(x);
  x = Dropout({.rate = 0.4, .name = "plain"})(x);
  return build_model({in}, {Dense({.units = 3, .name = "dense"})(Flatten()(x))});
}

TEST(WithDropoutRate, ChangesEveryKindAndNothingElse) {
  const graph::Model before = with_every_dropout();
  graph::Model after = with_dropout_rate(before, 0.0);
  for (const char* name : {"spatial", "gaussian", "alpha", "plain"}) {
    EXPECT_EQ(after.layer(name).get_float("rate"), 0.0) << name;
    after.layer(name).attributes = before.layer(name).attributes;
  }
  EXPECT_TRUE(after == before);
}

TEST(WithDropoutRate, RefusesRatesThatAreNone) {
  for (const double rate : {-0.1, 1.0, 7.0, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_THROW(with_dropout_rate(with_every_dropout(), rate), InvalidArgument) << rate;
  }
}

TEST(WithDropoutRate, RefusesModelsWithoutDropout) {
  const auto in = Input({.shape = {4}});
  const graph::Model model = build_model({in}, {Dense({.units = 3})(in)});
  try {
    with_dropout_rate(model, 0.5);
    FAIL() << "nothing was said";
  } catch (const InvalidArgument& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("has no layer whose dropout rate could be 0.5"));
  }
}

}  // namespace
}  // namespace nibble::transform
