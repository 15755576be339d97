// Ten thousand damaged files: each one is read or refused by a nibble::Error, within a second and a gibibyte.
//
// The damage is a pure function of the file's number, so that a finding can be repeated by it alone.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>

#include "nibble/core/atomic_file.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/formats/keras/weight_layout.h"
#include "nibble/formats/keras/zip_archive.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/layers_recurrent.h"
#include "support/damaged_file.h"
#include "support/golden.h"
#include "support/tfmot_file.h"

namespace nibble::formats::keras {
namespace {

namespace fs = std::filesystem;
using graph::Model;
using nlohmann::json;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint32_t kFilesOfAKind = 500;
constexpr double kLongest_s = 10;  // a fork copies the sanitizer's page tables
constexpr bool kMemoryCounts = false;
#else
constexpr uint32_t kFilesOfAKind = 2500;
constexpr double kLongest_s = 1;
constexpr bool kMemoryCounts = true;
#endif

// Two inputs, a merge, quantizers, nested weights: each part of the configuration and of the layouts occurs.
Model network() {
  using namespace graph::build;
  const Node image = Input({.shape = {6, 6, 2}, .name = "image"}), series = Input({.shape = {5, 3}, .name = "series"});
  Node x = QConv2D({.filters = 3,
                    .kernel_size = {3, 3},
                    .padding = "same",
                    .kernel_quantizer = "quantized_bits(4,0,1,alpha='auto_po2')",
                    .bias_quantizer = "quantized_bits(8,3)",
                    .name = "conv/first"})(image);
  x = QActivation({.activation = "quantized_relu(4,1)", .name = "act"})(BatchNormalization({.name = "bn"})(x));
  x = Flatten({.name = "flat"})(MaxPooling2D({.name = "pool"})(x));
  const auto inner = graph::make_layer("GRU", "gru", {{"units", int64_t{2}}});
  Node y = layer("Bidirectional", "both", {{"layer", graph::as_inner_layer(inner)}})(series);
  x = layer("Concatenate", "joined")({x, y});
  x = QDense({.units = 4, .kernel_quantizer = "ternary", .name = "dense"})(x);
  Model model =
      build_model({image, series}, {Activation({.activation = "softmax", .name = "softmax"})(x)}, "two_inputs");
  graph::initialize_weights(model, 3);
  return model;
}

// ---- damage ---------------------------------------------------------------------

// Lengths, counts and addresses as no writer means them.
constexpr uint64_t kExtremes[] = {0,
                                  1,
                                  0xff,
                                  0x7fff,
                                  0xffff,
                                  0x7fffffff,
                                  0xffffffff,
                                  uint64_t{1} << 32,
                                  ~uint64_t{0},
                                  ~uint64_t{0} - 7,
                                  uint64_t{1} << 62};

void damage_bytes_once(std::string& bytes, RandomStream& random) {
  if (bytes.empty()) return;
  const auto size = static_cast<uint32_t>(bytes.size());
  const uint32_t at = random.below(size), length = 1 + random.below(std::min<uint32_t>(size - at, 64));
  switch (random.below(8)) {
    case 0:
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8)));
      break;
    case 1:
      bytes[at] = static_cast<char>(random.below(256));
      break;
    case 2: {  // a number of 2, 4 or 8 bytes, where a number may well stand
      const uint64_t value = kExtremes[random.below(std::size(kExtremes))];
      const uint32_t start = at & ~uint32_t{3}, width = std::min<uint32_t>(2u << random.below(3), size - start);
      for (uint32_t i = 0; i < width; ++i) bytes[start + i] = static_cast<char>(value >> (8 * i));
      break;
    }
    case 3:
      std::fill_n(bytes.begin() + at, length, random.below(2) == 0 ? '\0' : '\xff');
      break;
    case 4:
      bytes.erase(at, length);
      break;
    case 5:
      bytes.insert(at, bytes.substr(random.below(size), length));
      break;
    case 6: {  // one place over another: addresses that meet, cycles
      const std::string piece = bytes.substr(random.below(size), length);
      bytes.replace(at, piece.size(), piece);
      break;
    }
    default:
      bytes.resize(at);
  }
}

std::string damaged_bytes(std::string bytes, RandomStream& random) {
  const uint32_t times = 1u << random.below(4);
  for (uint32_t i = 0; i < times; ++i) damage_bytes_once(bytes, random);
  return bytes;
}

json hostile_value(RandomStream& random) {
  json deep = json::array();
  for (int i = 0; i < 150; ++i) deep = json::array({std::move(deep)});
  const json values[] = {nullptr,
                         true,
                         -1,
                         0,
                         INT64_MAX,
                         INT64_MIN,
                         UINT64_MAX,
                         1e308,
                         0.5,
                         "",
                         "softmax",
                         "../../../../etc/passwd",
                         std::string("a\0b", 3),
                         "quantized_bits(((((",
                         "quantized_bits(99999999999999999999,0,1)",
                         std::string(100'000, 'x'),
                         json::array(),
                         json::object(),
                         json::array({1 << 30, 1 << 30, 1 << 30}),
                         json{{"class_name", "QDense"}, {"config", {{"units", 1 << 30}}}},
                         std::move(deep)};
  return values[random.below(std::size(values))];
}

// Every value of the tree, by its way from the root.
void collect_pointers(const json& node, const json::json_pointer& here, std::vector<json::json_pointer>& all) {
  if (!here.empty()) all.push_back(here);
  if (node.is_object()) {
    for (const auto& [key, child] : node.items()) collect_pointers(child, here / key, all);
  } else if (node.is_array()) {
    for (size_t i = 0; i < node.size(); ++i) collect_pointers(node[i], here / i, all);
  }
}

// The tree stays JSON: a value is replaced, removed, or takes another's place (names twice, graphs with cycles).
json damaged_tree(json tree, RandomStream& random) {
  for (uint32_t i = 0, times = 1 + random.below(3); i < times; ++i) {
    std::vector<json::json_pointer> all;
    collect_pointers(tree, json::json_pointer(), all);
    if (all.empty()) return tree;
    const auto count = static_cast<uint32_t>(all.size());
    const json::json_pointer& at = all[random.below(count)];
    switch (random.below(3)) {
      case 0:
        tree[at] = hostile_value(random);
        break;
      case 1: {
        const json other = tree[all[random.below(count)]];
        tree[at] = other;
        break;
      }
      default: {
        json& parent = tree[at.parent_pointer()];
        if (parent.is_object()) {
          parent.erase(at.back());
        } else {
          parent.erase(std::stoul(at.back()));
        }
      }
    }
  }
  return tree;
}

// ---- kinds of files -------------------------------------------------------------

struct Kind {
  const char* name;
  std::string (*damaged)(const Model& model, RandomStream& random);
  bool weights_only = false;
};

std::string damaged_json(const Model& model, RandomStream& random) {
  const json config = graph::to_config(model);
  return random.below(3) == 0 ? damaged_bytes(config.dump(), random) : damaged_tree(config, random).dump();
}

// A model of TFMOT's, whose wrappers are undone first.
std::string damaged_tfmot(const Model&, RandomStream& random) {
  return damaged_tree(testing::tfmot_config(), random).dump();
}

std::string damaged_h5(const Model& model, RandomStream& random) {
  static const std::string whole = write_legacy(model, graph::to_config(model).dump());
  if (random.below(4) > 0) return damaged_bytes(whole, random);
  return write_legacy(model, damaged_tree(graph::to_config(model), random).dump());
}

std::string damaged_weights(const Model& model, RandomStream& random) {
  static const std::string whole = write_legacy(model);
  return damaged_bytes(whole, random);
}

// Half of the archives are damaged inside, where the sums of zip do not see it.
std::string damaged_archive(const Model& model, RandomStream& random) {
  static const std::string weights = write_archive(model);
  const std::string config = graph::to_config(model).dump();
  const auto zip = [](const std::string& inner_config, const std::string& inner_weights) {
    return write_zip({{"metadata.json", "{}"}, {"config.json", inner_config}, {"model.weights.h5", inner_weights}});
  };
  switch (random.below(4)) {
    case 0:
      return zip(damaged_json(model, random), weights);
    case 1:
      return zip(config, damaged_bytes(weights, random));
    default:
      return damaged_bytes(zip(config, weights), random);
  }
}

void read(const Kind& kind, const Model& model, const fs::path& path) {
  if (kind.weights_only) {
    Model target = model;
    load_weights(target, path);
  } else {
    graph::validate(load_model(path));
  }
}

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int64_t peak_mib(int who) {
  rusage usage = {};
  getrusage(who, &usage);
  return usage.ru_maxrss / 1024;
}

class Mutated : public ::testing::TestWithParam<Kind> {};
TEST_P(Mutated, ReadOrRefusedInTime) {
  const Kind& kind = GetParam();
  const Model model = network();
  const fs::path path = testing::scratch_dir("mutated") / kind.name;
  testing::DamageCounts counts;
  double longest_s = 0;
  for (uint32_t i = 0; i < kFilesOfAKind; ++i) {
    SCOPED_TRACE(i);
    RandomStream random({.seed = 5, .purpose = RandomPurpose::kTest, .step = i});
    testing::overwrite(path, kind.damaged(model, random));
    const auto attempt = [&](testing::DamageCounts& into) {
      return seconds_of([&] {
        try {
          read(kind, model, path);
          ++into.accepted;
        } catch (const Error& error) {
          ++into.refused;
          EXPECT_FALSE(std::string(error.what()).empty());
        } catch (const std::exception& error) {
          ADD_FAILURE() << "not a nibble::Error: " << error.what();
        }
      });
    };
    double taken_s = attempt(counts);
    // A busy machine is late once; a file that hangs does so every time.
    testing::DamageCounts again;
    for (int repeat = 0; repeat < 2 && taken_s > kLongest_s; ++repeat) taken_s = std::min(taken_s, attempt(again));
    EXPECT_LE(taken_s, kLongest_s);
    longest_s = std::max(longest_s, taken_s);
  }
  const int64_t own = peak_mib(RUSAGE_SELF), readers = peak_mib(RUSAGE_CHILDREN);
  std::printf("%s: %d read, %d refused, longest %.3f s, peak %ld MiB and %ld MiB in a reading process\n", kind.name,
              counts.accepted, counts.refused, longest_s, static_cast<long>(own), static_cast<long>(readers));
  EXPECT_EQ(counts.accepted + counts.refused, static_cast<int>(kFilesOfAKind));
  EXPECT_GT(counts.accepted, 0) << "otherwise the readers were hardly entered";
  if (kMemoryCounts) {
    EXPECT_LT(std::max(own, readers), 1024);
  }
}
INSTANTIATE_TEST_SUITE_P(Kinds, Mutated,
                         ::testing::Values(Kind{"m.json", damaged_json}, Kind{"t.json", damaged_tfmot},
                                           Kind{"m.h5", damaged_h5}, Kind{"w.h5", damaged_weights, true},
                                           Kind{"m.keras", damaged_archive}),
                         [](const auto& info) {
                           std::string name = info.param.name;
                           std::replace(name.begin(), name.end(), '.', '_');
                           return name;
                         });

}  // namespace
}  // namespace nibble::formats::keras
