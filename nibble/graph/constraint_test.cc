// Constraints and regularizers: QKeras' recorded rows, and Keras' formulas.
#include "nibble/graph/constraint.h"

#include <gtest/gtest.h>

#include "nibble/core/error.h"
#include "nibble/graph/initializer.h"
#include "support/golden.h"

namespace nibble::graph {
namespace {

using testing::golden_json;

TEST(ConstraintGolden, ClipAndWrappedInitializer) {
  const auto document = golden_json("layers/constraints");
  if (document.is_null()) GTEST_SKIP() << "no rows";
  int rows = 0;
  for (const auto& row : document.at("cases")) {
    const std::string id = row.at("id").get<std::string>();
    const auto quantizer = quant::get_quantizer(row.at("quantizer").get<std::string>());
    const Constraint constraint = automatic_constraint(*quantizer);
    ASSERT_EQ(row.at("constraint_class"), "Clip") << id;
    EXPECT_EQ(constraint.minimum, row.at("clip_min").get<double>()) << id;
    EXPECT_EQ(constraint.maximum, row.at("clip_max").get<double>()) << id;
    EXPECT_EQ(wraps_initializer(row.at("initializer").get<std::string>(), *quantizer),
              row.at("initializer_wrapped").get<bool>())
        << id;
    Tensor w = testing::golden_tensor(row.at("w"));
    apply_constraint(constraint, w.shape(), w.data());
    EXPECT_EQ(w, testing::golden_tensor(row.at("constrained_w"))) << id;
    ++rows;
  }
  std::cout << rows << " rows\n";
}

Layer dense(const std::string& attribute, const std::string& json) {
  Layer layer = make_layer("Dense", "dense", {{"units", int64_t{2}}});
  layer.attributes[attribute] = OpaqueJson{json};
  return layer;
}

struct ConstraintCase {
  const char* json;
  std::vector<float> before, after;  // of shape (2, 2)
};

TEST(Constraint, KerasFormulas) {
  for (const ConstraintCase& row : std::vector<ConstraintCase>{
           {R"("non_neg")", {1, -2, 0, 3}, {1, 0, 0, 3}},
           {R"({"class_name": "NonNeg", "config": {}})", {-1, -2, 0, 3}, {0, 0, 0, 3}},
           {R"({"class_name": "Clip", "config": {"max_value": 0.5}})", {1, -2, 0.25f, 3}, {0.5f, -0.5f, 0.25f, 0.5f}},
           {R"({"class_name": "MaxNorm", "config": {"max_value": 1, "axis": 0}})",
            {3, 0.1f, 4, 0.2f},
            {0.6f, 0.1f, 0.8f, 0.2f}},
           {R"({"class_name": "UnitNorm", "config": {"axis": 1}})", {3, 4, 0.6f, 0.8f}, {0.6f, 0.8f, 0.6f, 0.8f}},
           {R"({"class_name": "UnitNorm", "config": {"axis": [0, 1]}})", {1, 1, 1, 1}, {0.5f, 0.5f, 0.5f, 0.5f}},
           {R"({"class_name": "MinMaxNorm", "config": {"min_value": 1, "max_value": 2, "rate": 0.5, "axis": 0}})",
            {3, 0.3f, 4, 0.4f},
            {2.1f, 0.45f, 2.8f, 0.6f}}}) {
    const Constraint constraint = constraint_of(dense("kernel_constraint", row.json), "kernel_constraint");
    std::vector<float> values = row.before;
    apply_constraint(constraint, Shape{2, 2}, values);
    for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(values[i], row.after[i], 1e-6) << row.json << " " << i;
  }
}

TEST(Regularizer, KerasForms) {
  const auto of = [](const char* json) {
    return regularizer_of(dense("kernel_regularizer", json), "kernel_regularizer");
  };
  EXPECT_EQ(of(R"("l2")"), (Regularizer{0, 0.01}));
  EXPECT_EQ(of(R"({"class_name": "L1", "config": {"l1": 0.5}})"), (Regularizer{0.5, 0}));
  EXPECT_EQ(of(R"({"class_name": "L1L2", "config": {"l1": 0.5, "l2": 0.25}})"), (Regularizer{0.5, 0.25}));
  EXPECT_TRUE(regularizer_of(make_layer("Dense", "d", {{"units", int64_t{2}}}), "kernel_regularizer").is_none());
}

TEST(Regularizer, SaysWhichAreKnown) {
  const auto knows = [](const char* json) {
    return knows_regularizer(dense("activity_regularizer", json), "activity_regularizer");
  };
  for (const char* json : {R"("l1")", R"("l1_l2")", R"({"class_name": "L2", "config": {"l2": 0.5}})"}) {
    EXPECT_TRUE(knows(json)) << json;
  }
  for (const char* json : {R"("orthogonal")", R"({"class_name": "Own"})", R"([1, 2])"})
    EXPECT_FALSE(knows(json)) << json;
  EXPECT_TRUE(knows_regularizer(make_layer("Dense", "d", {{"units", int64_t{2}}}), "activity_regularizer"));
  EXPECT_TRUE(knows_regularizer(make_layer("Flatten", "f"), "activity_regularizer")) << "it has none";
}

TEST(Constraint, OthersAreRefused) {
  EXPECT_THROW(constraint_of(dense("kernel_constraint", R"({"class_name": "Own"})"), "kernel_constraint"), Unsupported);
  EXPECT_THROW(constraint_of(dense("kernel_constraint", R"([1, 2])"), "kernel_constraint"), Unsupported);
  EXPECT_THROW(regularizer_of(dense("kernel_regularizer", R"("orthogonal")"), "kernel_regularizer"), Unsupported);
}

}  // namespace
}  // namespace nibble::graph
