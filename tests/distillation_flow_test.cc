// A teacher for nibble train and nibble qat, as a user would give it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli_workplace.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/builder.h"

namespace nibble::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

std::string teacher() {
  static const CliResult trained = Workplace::get().run(
      "train tiny.keras --data cifar10 --batch-size 40 --lr 0.02 --seed 3 --epochs 4 --output teacher");
  return trained.code == 0 ? "teacher" : trained.err;
}

std::string student(const std::string& output, const std::string& more) {
  return "train tiny.keras --quantize four_bits.json --data cifar10 --batch-size 40 --lr 0.02 --output " + output +
         " " + more;
}

TEST(DistillationFlow, AStudentIsGoneOnWithToTheSameBytes) {
  const Workplace& place = Workplace::get();
  const std::string learn = " --teacher " + teacher() + " --temperature 3 --epochs ";
  const CliResult whole = place.run(student("taught", learn + "4"));
  ASSERT_EQ(whole.code, 0) << whole.err;
  EXPECT_THAT(whole.err, HasSubstr("teacher: tiny, accuracy "));
  ASSERT_EQ(place.run(student("taught_parts", learn + "2")).code, 0);
  const CliResult other = place.run(student("taught_parts", learn + "4 --resume --teacher-weight 0.5"));
  EXPECT_EQ(other.code, 1);
  EXPECT_THAT(other.err, HasSubstr("other training options"));
  const CliResult rest = place.run(student("taught_parts", learn + "4 --resume"));
  ASSERT_EQ(rest.code, 0) << rest.err;
  EXPECT_EQ(slurp(place.dir() / "taught_parts/model.keras"), slurp(place.dir() / "taught/model.keras"));
}

TEST(DistillationFlow, AWeightOfZeroGivesTheBytesWithoutATeacher) {
  const Workplace& place = Workplace::get();
  ASSERT_EQ(place.run(student("untaught", "--epochs 2")).code, 0);
  ASSERT_EQ(place.run(student("untaught_0", "--epochs 2 --teacher-weight 0 --teacher " + teacher())).code, 0);
  ASSERT_EQ(place.run(student("taught_1", "--epochs 2 --teacher-weight 1 --teacher " + teacher())).code, 0);
  const std::string expected = slurp(place.dir() / "untaught/model.keras");
  EXPECT_TRUE(slurp(place.dir() / "untaught_0/model.keras") == expected);
  EXPECT_FALSE(slurp(place.dir() / "taught_1/model.keras") == expected);
}

TEST(DistillationFlow, QatLearnsFromItsFloatModel) {
  const Workplace& place = Workplace::get();
  const std::string line =
      "qat " + teacher() + " --data cifar10 --scheme int4 --batch-size 40 --epochs 1 --json --output ";
  const CliResult alone = place.run(line + "qat_alone");
  const CliResult taught = place.run(line + "qat_taught --teacher " + teacher() + "/model.keras");
  ASSERT_EQ(alone.code, 0) << alone.err;
  ASSERT_EQ(taught.code, 0) << taught.err;
  EXPECT_THAT(taught.err, HasSubstr("teacher: tiny, accuracy "));
  EXPECT_NE(json::parse(taught.out).at("loss"), json::parse(alone.out).at("loss"));
  EXPECT_FALSE(slurp(place.dir() / "qat_taught/model.keras") == slurp(place.dir() / "qat_alone/model.keras"));
}

// A trained network of five classes and one without a softmax.
void write_strange_teachers() {
  using namespace graph::build;
  for (const bool has_softmax : {true, false}) {
    auto in = Input({.shape = {32, 32, 3}, .name = "input"});
    auto x = Dense({.units = has_softmax ? 5 : 10, .name = "dense"})(Flatten({.name = "flatten"})(in));
    if (has_softmax) x = Activation({.activation = "softmax", .name = "softmax"})(x);
    graph::Model model = build_model({in}, {x}, "strange");
    graph::initialize_weights(model, 1);
    formats::keras::save_model(model, Workplace::get().dir() / (has_softmax ? "five.keras" : "linear.keras"));
  }
}

struct Row {
  const char* name;
  const char* options;
  int code;
  const char* err;
};
class TeacherRefusal : public ::testing::TestWithParam<Row> {};
TEST_P(TeacherRefusal, IsASentence) {
  write_strange_teachers();
  for (const char* command : {"train", "qat"}) {
    const CliResult result = Workplace::get().run(
        std::string(command) + " tiny.keras --data cifar10 --epochs 1 --output never_taught " + GetParam().options);
    EXPECT_EQ(result.code, GetParam().code) << command << ": " << result.err;
    EXPECT_THAT(result.err, HasSubstr(GetParam().err)) << command;
  }
}
INSTANTIATE_TEST_SUITE_P(Rows, TeacherRefusal,
                         ::testing::Values(Row{"TemperatureAlone", "--temperature 3", 2, "--teacher"},
                                           Row{"WeightAlone", "--teacher-weight 0.5", 2, "--teacher"},
                                           Row{"Weight", "--teacher tiny.keras --teacher-weight 2", 2,
                                               "--teacher-weight"},
                                           Row{"Temperature", "--teacher tiny.keras --temperature 0", 2, "above 0"},
                                           Row{"NoFile", "--teacher none.keras", 1, "there is no such file"},
                                           Row{"Damaged", "--teacher short.keras", 1, "short.keras"},
                                           Row{"Untrained", "--teacher mnist", 2, "has no trained weights"},
                                           Row{"OtherClasses", "--teacher five.keras", 1, "knows 5 classes"},
                                           Row{"NoSoftmax", "--teacher linear.keras", 1, "End it with a softmax"}),
                         [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace nibble::testing
