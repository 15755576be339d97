// Whole networks against the reference: data-type maps, energies, bits and roofline figures of
// every recorded case.
#include <gtest/gtest.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/cost/energy.h"
#include "nibble/cost/forgiving_factor.h"
#include "nibble/cost/golden_model.h"
#include "nibble/cost/model_bits.h"
#include "nibble/cost/roofline.h"
#include "support/golden.h"

namespace nibble::cost {
namespace {

using nlohmann::json;
using testing::golden_model;
using testing::golden_options;
using testing::same_json;
namespace golden = nibble::testing;

// Facts checked and failed; the first few failures are shown.
struct Tally {
  size_t checked = 0;
  size_t failed = 0;

  void check(bool is_right, const std::string& what) {
    ++checked;
    if (is_right) return;
    if (++failed <= 5) ADD_FAILURE() << what;
  }
  void same(const json& actual, const json& expected, const std::string& what) {
    if (same_json(actual, expected)) return check(true, what);
    check(false, what + ": " + json::diff(expected, actual).dump().substr(0, 1500));
  }
};

EnergyOptions settings(const json& row) {
  EnergyOptions options;
  options.weights_on_memory = memory_from_string(row[0].get<std::string>());
  options.activations_on_memory = memory_from_string(row[1].get<std::string>());
  options.min_sram_bits = row[2];
  options.rd_wr_on_io = row[3].get<int>() != 0;
  return options;
}

json layers_of(const EnergyEstimate& estimate) {
  json layers = json::object();
  for (const LayerEnergy& layer : estimate.layers)
    layers[layer.name] = {layer.inputs_pj, layer.outputs_pj, layer.parameters_pj, layer.op_cost_pj, layer.included_pj};
  return layers;
}

void check_energy(const DataTypeMap& map, const json& row, const std::string& where, Tally& tally) {
  if (row.contains("energy_error")) {
    EXPECT_THROW(estimate(map), Unsupported) << where;
    return;
  }
  for (const json& sum : row["energy_sums"]) {
    const EnergyEstimate got = estimate(map, settings(sum));
    tally.check(got.total_pj == sum[4].get<int64_t>() && got.total_cost_pj == sum[5].get<int64_t>(),
                fmt::format("{} energy {}: got {}, {}", where, sum.dump(), got.total_pj, got.total_cost_pj));
  }
  for (const json& detail : row["energy_detail"]) {
    const EnergyEstimate got = estimate(map, settings(detail["settings"]));
    tally.check(got.total_cost_pj == detail["total_cost"].get<int64_t>(), where + " total cost");
    tally.same(layers_of(got), detail["layers"], where + " energy of layers " + detail["settings"].dump());
  }
}

void check_roofline(const DataTypeMap& map, const json& row, const std::string& where, Tally& tally) {
  const RooflinePair got = roofline(map);
  const json figures = {{"ACE", {got.quantized.ace, got.float32.ace}},
                        {"weight_bytes", {got.quantized.weight_bytes, got.float32.weight_bytes}},
                        {"output_bytes", {got.quantized.activation_bytes, got.float32.activation_bytes}}};
  tally.same(figures, row["roofline"], where + " roofline");
}

json names_of(const DataTypeMap& map, bool LayerTypes::*flag) {
  json names = json::array();
  for (const LayerTypes& layer : map.layers)
    if (layer.*flag) names.push_back(layer.name);
  return names;
}

void check_case(const graph::Model& model, const json& row, const std::string& where, Tally& tally) {
  const DataTypeOptions options = golden_options(row, Compat::kQkeras);
  if (row.contains("map_error")) {
    EXPECT_THROW(data_type_map(model, options), Unsupported) << where;
    return;
  }
  const DataTypeMap map = data_type_map(model, options);
  tally.same(report_of(map), row["map"], where + " map");
  if (row.contains("internals")) tally.same(testing::internals_of(map), row["internals"], where + " internals");
  tally.same(names_of(map, &LayerTypes::reads_model_input), row["input_layers"], where + " input layers");
  tally.same(names_of(map, &LayerTypes::writes_model_output), row["output_layers"], where + " output layers");
  check_energy(map, row, where, tally);
  check_roofline(map, row, where, tally);
}

// README of golden/qtools: what the four configurations count.
std::map<std::string, BitsParts> bits_config(const std::string& name) {
  const BitsParts both = {true, true}, parameters = {true, false}, activations = {false, true};
  if (name == "default_all") return {{"default", both}};
  if (name == "params_only") return {{"default", parameters}};
  if (name == "empty") return {};
  std::map<std::string, BitsParts> typed = {{"Activation", activations},
                                            {"QActivation", activations},
                                            {"BatchNormalization", parameters},
                                            {"QBatchNormalization", parameters},
                                            {"default", activations}};
  for (const char* layer : {"Dense", "QDense", "Conv2D", "QConv2D", "DepthwiseConv2D", "QDepthwiseConv2D"})
    typed[layer] = both;
  return typed;
}

void check_bits(const graph::Model& model, const json& rows, const std::string& where, Tally& tally) {
  for (const json& row : rows) {
    const ModelBits got = count_bits(model, {.compat = Compat::kQkeras,
                                             .ref_bits = row["ref_bits"],
                                             .input_bits = row["input_bits"],
                                             .output_bits = row["output_bits"],
                                             .config = bits_config(row["config"])});
    tally.same({got.parameters, got.activations, got.total()}, {row["parameters"], row["activations"], row["total"]},
               where + " bits " + row["config"].dump());
    if (!row.contains("layers")) continue;
    json layers = json::object();
    for (const LayerBits& layer : got.layers) layers[layer.name] = {layer.parameters, layer.activations, layer.total};
    tally.same(layers, row["layers"], where + " bits of layers " + row["config"].dump());
  }
}

void report(const std::string& file, size_t cases, const Tally& tally) {
  std::cout << file << ": " << cases << " cases, " << tally.checked - tally.failed << " of " << tally.checked
            << " facts\n";
  EXPECT_EQ(tally.failed, 0u) << file;
}

TEST(ModelsGolden, ReferencesOfFloatNetworks) {
  if (golden::golden_files("qtools", "model_").empty()) GTEST_SKIP() << "no rows in " << golden::golden_dir();
  const auto files = golden::golden_files("qtools", "model_");
  for (const std::string& file : files) {
    const json row = golden::golden_json("qtools/" + file);
    if (!row.contains("cases")) continue;
    const graph::Model model = golden_model(row["model"]);
    Tally tally;
    check_bits(model, row["bits_cost"], file, tally);
    for (const json& one : row["cases"]) check_case(model, one, file + " " + one["name"].get<std::string>(), tally);
    report(file, row["cases"].size(), tally);
  }
}

// The energy goal's saving: this network against its float twin measured as int8.
void check_forgiving(const graph::Model& model, const json& row, const std::string& where, Tally& tally) {
  const json& expected = row["forgiving"];
  EnergyQuery query = {.types = golden_options(row, Compat::kQkeras), .energy = {}};
  const auto trial = estimate(model, query).total_pj;
  query.types.for_reference = true;
  const auto reference = estimate(model, query).total_pj;
  tally.check(trial == expected["trial"].get<int64_t>(), where + " trial " + std::to_string(trial));
  tally.check(reference == expected["reference"].get<int64_t>(), where + " reference " + std::to_string(reference));
  const double delta = ForgivingFactor{.delta_p = 8.0, .delta_n = 8.0, .rate = 2.0}.delta(reference, trial);
  // 3e-7: the reference's percents are 32-bit floats.
  tally.check(golden::close(delta, expected["delta"].get<double>(), 3e-7, 0),
              where + " delta " + std::to_string(delta));
  tally.check(
      golden::close(double(trial - reference) / double(reference), expected["total_factor"].get<double>(), 1e-9, 0),
      where + " total factor");
}

TEST(ModelsGolden, QuantizedNetworks) {
  if (golden::golden_files("qtools", "model_").empty()) GTEST_SKIP() << "no rows in " << golden::golden_dir();
  for (const std::string& file : golden::golden_files("qtools", "model_")) {
    const json row = golden::golden_json("qtools/" + file);
    if (row.contains("cases")) continue;
    const graph::Model model = golden_model(row["model"]);
    Tally tally;
    check_case(model, row, file, tally);
    check_bits(model, row["bits_cost"], file, tally);
    check_forgiving(model, row, file, tally);
    report(file, 1, tally);
  }
}

TEST(ModelsGolden, SmallGraphs) {
  const json rows = golden::golden_json("qtools/graphs");
  if (rows.is_null()) GTEST_SKIP() << "no rows of graphs";
  Tally tally;
  for (const json& row : rows) {
    const std::string where = row["graph"].get<std::string>() + " from " + row["source"].get<std::string>();
    const graph::Model model = golden_model(row["model"]);
    check_case(model, row, where, tally);
    if (row.contains("bits_cost")) check_bits(model, row["bits_cost"], where, tally);
  }
  report("graphs", rows.size(), tally);
}

// Tensors in Keras' order.
void set_weights(const json& tensors, const std::map<std::string, Shape>& shapes, graph::Layer& layer) {
  const auto wanted = graph::weight_shapes(layer, graph::input_shapes(layer, shapes));
  layer.weights.clear();
  for (size_t i = 0; i < tensors.size(); ++i) {
    Shape shape(tensors[i][0].get<std::vector<int64_t>>());
    layer.weights.push_back({wanted.at(i).first, Tensor(shape, tensors[i][1].get<std::vector<float>>())});
  }
}

TEST(ModelsGolden, KnownWeights) {
  const json rows = golden::golden_json("qtools/inference_weights");
  if (rows.is_null()) GTEST_SKIP() << "no rows of inference_weights";
  Tally tally;
  for (size_t i = 0; i < rows.size(); ++i) {
    const json& row = rows[i];
    graph::Model model = golden_model(row["model"]);
    const auto shapes = graph::infer_shapes(model);
    for (const auto& [name, tensors] : row["weights"].items()) set_weights(tensors, shapes, model.layer(name));
    DataTypeOptions options = golden_options(row, Compat::kQkeras);
    options.use_weights = true;
    options.weights_are_quantized = row["weights_already_quantized"].get<int>() != 0;
    const DataTypeMap map = data_type_map(model, options);
    const std::string where = "row " + std::to_string(i);
    tally.same(report_of(map), row["map"], where + " map");
    tally.same(testing::internals_of(map), row["internals"], where + " internals");
    const int64_t total = estimate(map).total_pj;
    tally.check(total == row["energy_sum"].get<int64_t>(), where + " energy " + std::to_string(total));
  }
  report("inference_weights", rows.size(), tally);
}

// The tutorial's settings and its three numbers, in picojoules.
TEST(ModelsGolden, TutorialPresets) {
  const json network = golden::golden_json("qtools/model_mnist_reference");
  if (network.is_null()) GTEST_SKIP() << "no rows of model_mnist_reference";
  const graph::Model mnist = golden_model(network["model"]);
  const auto total = [&](Reference reference, Compat compat) {
    return estimate(mnist, energy_query(reference, compat)).total_pj;
  };
  for (const Compat compat : {Compat::kNone, Compat::kQkeras}) {
    EXPECT_EQ(total(Reference::kFp32, compat), 3295370);
    EXPECT_EQ(total(Reference::kInt8, compat), 574175);
  }
  EXPECT_EQ(total(Reference::kInt8, Compat::kQkeras2020), 204399);
}

// Fixing the reference's defects leaves the tutorial's networks where they were.
TEST(ModelsGolden, DefaultModeAgreesOnTutorialNetworks) {
  if (golden::golden_files("qtools", "model_").empty()) GTEST_SKIP() << "no rows in " << golden::golden_dir();
  size_t networks = 0;
  for (const std::string& file : golden::golden_files("qtools", "model_")) {
    const json row = golden::golden_json("qtools/" + file);
    const graph::Model model = golden_model(row["model"]);
    for (const Reference reference : {Reference::kFp32, Reference::kInt8, Reference::kNone}) {
      const auto fixed = estimate(model, energy_query(reference));
      const auto compatible = estimate(model, energy_query(reference, Compat::kQkeras));
      EXPECT_TRUE(same_json(report_of(fixed), report_of(compatible))) << file << " " << int(reference);
    }
    ++networks;
  }
  std::cout << networks << " networks\n";
}

// The rule that the tutorial's 204 nJ were computed with.
TEST(ModelsGolden, References2020) {
  const json rows = golden::golden_json("qtools/legacy_reference_energy");
  if (rows.is_null()) GTEST_SKIP() << "no rows of legacy_reference_energy";
  Tally tally;
  for (const json& row : rows) {
    const std::string dataset = row["dataset"];
    const json network = golden::golden_json("qtools/model_" + dataset + "_reference");
    if (network.is_null()) continue;
    DataTypeOptions options = golden_options(row, Compat::kQkeras2020);
    options.for_reference = true;
    const EnergyEstimate got =
        estimate(data_type_map(golden_model(network["model"]), options), settings(row["settings"]));
    tally.check(got.total_pj == row["energy_sum"].get<int64_t>(), dataset + " " + row["settings"].dump());
    tally.check(got.total_cost_pj == row["total_cost"].get<int64_t>(), dataset + " " + row["settings"].dump());
    tally.same(layers_of(got), row["layers"], dataset + " layers");
  }
  report("legacy_reference_energy", rows.size(), tally);
}

}  // namespace
}  // namespace nibble::cost
