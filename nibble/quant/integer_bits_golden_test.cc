// The integer-bit estimator against recorded rows.
#include <gtest/gtest.h>

#include "nibble/quant/integer_bits.h"
#include "support/golden.h"

namespace nibble::quant {
namespace {

TEST(IntegerBitsGolden, EveryElement) {
  const auto document = testing::golden_json("utils/integer_bits");
  if (document.is_null()) GTEST_SKIP() << "no rows";
  for (const auto& row : document.at("cases")) {
    const IntegerBitsOptions options{row.at("bits").get<int>(), row.at("symmetric").get<bool>(),
                                     row.at("keep_negative").get<bool>(), row.at("is_clipping").get<bool>()};
    const Tensor low = testing::golden_tensor(row.at("min")), high = testing::golden_tensor(row.at("max"));
    for (int64_t i = 0; i < low.size(); ++i) {
      EXPECT_EQ(estimate_integer_bits(low[i], high[i], options),
                row.at("integer_bits")[static_cast<size_t>(i)].get<int>())
          << row.at("id") << " element " << i << ": " << low[i] << " .. " << high[i];
    }
  }
  std::cout << document.at("cases").size() << " rows\n";
}

}  // namespace
}  // namespace nibble::quant
