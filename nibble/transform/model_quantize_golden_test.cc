// Every recorded row of the reference's model_quantize, on Keras' layer descriptions.
#include <gtest/gtest.h>

#include "nibble/core/error.h"
#include "nibble/transform/layer_rewrite.h"
#include "support/golden.h"

namespace nibble::transform {
namespace {

using nlohmann::json;

ModelQuantizeOptions options_of(const json& row) {
  ModelQuantizeOptions options{.activation_bits = row.at("activation_bits").get<int>(),
                               .compat = Compatibility::kQkeras};
  options.prefer_qadaptiveactivation = row.at("options").value("prefer_qadaptiveactivation", false);
  return options;
}

json rewritten(const json& row) {
  json layers = row.at("layers_in");
  for (json& layer : layers) rewrite_layer_json(layer, row.at("quantizer_config"), options_of(row));
  return layers;
}

TEST(ModelQuantizeGolden, LayersBecomeThoseOfTheReference) {
  const json file = testing::golden_json("utils/model_quantize");
  if (file.is_null()) GTEST_SKIP() << "no rows in " << testing::golden_dir();
  int compared = 0;
  for (const json& row : file.at("cases")) {
    SCOPED_TRACE(row.at("id").get<std::string>());
    ++compared;
    if (row.contains("call_error")) {
      EXPECT_THROW(rewritten(row), Error);
      continue;
    }
    EXPECT_EQ(rewritten(row).dump(1), row.at("layers_out").dump(1));
  }
  std::printf("model_quantize: %d of %zu rows compared\n", compared, file.at("cases").size());
  EXPECT_GT(compared, 0);
}

}  // namespace
}  // namespace nibble::transform
