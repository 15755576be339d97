#include "cli_workplace.h"

#include <fmt/format.h>
#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "nibble/core/philox.h"
#include "nibble/data/npy.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/builder.h"
#include "support/golden.h"

namespace nibble::testing {
namespace {

namespace fs = std::filesystem;

// 32x32 pixels in colour, of a brightness that tells the class.
void write_cifar_batch(const fs::path& path, int records, uint64_t seed) {
  RandomStream random({.seed = seed, .purpose = RandomPurpose::kTest});
  std::string bytes;
  for (int r = 0; r < records; ++r) {
    const int label = r % 10;
    bytes.push_back(static_cast<char>(label));
    for (int i = 0; i < 3072; ++i) bytes.push_back(static_cast<char>(25 * label + (random.bits() & 7)));
  }
  spill(path, bytes);
}

graph::Model tiny_model() {
  using namespace graph::build;
  auto in = Input({.shape = {32, 32, 3}, .name = "input"});
  auto x = Conv2D({.filters = 4, .kernel_size = {3, 3}, .strides = {4, 4}, .padding = "same", .name = "conv"})(in);
  x = BatchNormalization({.name = "bn"})(x);
  x = Activation({.activation = "relu", .name = "act"})(x);
  x = Flatten({.name = "flatten"})(x);
  x = Dense({.units = 10, .name = "dense"})(x);
  x = Activation({.activation = "softmax", .name = "softmax"})(x);
  return build_model({in}, {x}, "tiny");
}

constexpr const char* kFourBits = R"json({
  "QConv2D": {"kernel_quantizer": "quantized_bits(4,0,1,alpha='auto_po2')",
              "bias_quantizer": "quantized_bits(4,0,1)"},
  "QDense": {"kernel_quantizer": "ternary(alpha='auto')", "bias_quantizer": "quantized_bits(4,0,1)"},
  "QActivation": {"relu": "quantized_relu(4)"}
})json";

void write_data(const fs::path& folder, int records) {
  fs::create_directories(folder);
  for (int b = 1; b <= 5; ++b) {
    write_cifar_batch(folder / fmt::format("data_batch_{}.bin", b), records, static_cast<uint64_t>(b));
  }
  write_cifar_batch(folder / "test_batch.bin", records, 9);
}

void write_models(const fs::path& dir) {
  graph::Model model = tiny_model();
  graph::initialize_weights(model, 1);
  formats::keras::save_model(model, dir / "tiny.keras");
  const std::string bytes = slurp(dir / "tiny.keras");
  spill(dir / "short.keras", bytes.substr(0, bytes.size() / 2));
  spill(dir / "garbage.keras", "this is no model");
  spill(dir / "empty.keras", "");
}

void write_configurations(const fs::path& dir) {
  spill(dir / "four_bits.json", kFourBits);
  spill(dir / "search_without_output.json", R"json({"model": "tiny.keras", "data": "cifar10"})json");
  spill(dir / "broken.json", "{\"QConv2D\": ");
  spill(dir / "unknown_layer.json", R"json({"cnov": {"kernel_quantizer": "binary"}})json");
  spill(dir / "unknown_key.json", R"json({"QConv2D": {"kernel_quantiser": "binary"}})json");
  spill(dir / "unknown_quantizer.json", R"json({"QConv2D": {"kernel_quantizer": "quantised_bits(4)"}})json");
}

void write_arrays(const fs::path& dir) {
  data::write_npy(dir / "x.npy", Tensor(Shape{3, 32, 32, 3}, 0.25f));
  data::write_npy(dir / "x_grey.npy", Tensor(Shape{3, 28, 28, 1}, 0.25f));
  data::write_npy(dir / "x_flat.npy", Tensor(Shape{3, 3072}, 0.25f));
  data::write_npy(dir / "x_transposed.npy", Tensor(Shape{3, 3, 32, 32}, 0.25f));
  const std::string x = slurp(dir / "x.npy");
  spill(dir / "x_short.npy", x.substr(0, x.size() - 5));
}

}  // namespace

std::string slurp(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void spill(const fs::path& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

Workplace& Workplace::get() {
  static Workplace workplace;
  return workplace;
}

Workplace::Workplace() : dir_(scratch_dir("cli_test")) {
  write_data(dir_ / "data" / "cifar-10", 40);
  write_data(dir_ / "bad_data" / "cifar-10", 2);
  spill(dir_ / "bad_data" / "cifar-10" / "test_batch.bin", "cut off");
  write_models(dir_);
  write_configurations(dir_);
  write_arrays(dir_);
  fs::create_directories(dir_ / "no_study");
  spill(dir_ / "no_study.db", "this is no database, but long enough to be taken for one by its name");
}

std::string program() {
  const char* other = std::getenv("NIBBLE_BINARY");  // an installed program, say
  return other == nullptr ? NIBBLE_BINARY : other;
}

CliResult Workplace::run(const std::string& line) const {
  const fs::path out = dir_ / "stdout.txt", err = dir_ / "stderr.txt";
  const std::string command =
      fmt::format("cd '{}' && NIBBLE_DATA_DIR='{}' NIBBLE_OFFLINE=1 '{}' {} >'{}' 2>'{}'", dir_.string(),
                  (dir_ / "data").string(), program(), line, out.string(), err.string());
  const int status = std::system(command.c_str());
  return {
      .code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), .out = slurp(out), .err = slurp(err)};
}

ChildProcess Workplace::start(const std::string& line) const {
  // exec: signals are the program's own.
  return ChildProcess("/bin/sh", {"-c", fmt::format("cd '{}' && exec '{}' {}", dir_.string(), program(), line)},
                      {.environment = {"NIBBLE_DATA_DIR=" + (dir_ / "data").string(), "NIBBLE_OFFLINE=1"}});
}

}  // namespace nibble::testing
