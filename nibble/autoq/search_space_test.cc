// What differs from AutoQKeras by default, and what is refused. The rest: search_space_golden_test.
#include "nibble/autoq/search_space.h"

#include <gtest/gtest.h>

#include "nibble/autoq/cost_meter.h"
#include "nibble/core/error.h"
#include "nibble/graph/layers_recurrent.h"
#include "nibble/models/builtin.h"

namespace nibble::autoq {
namespace {

// input -> conv (relu inside, bias) -> Activation linear -> flatten -> head (softmax inside)
graph::Model small_model() {
  graph::Model model;
  const auto add = [&](std::string class_name, std::string name, std::map<std::string, graph::Attribute> attributes) {
    graph::Layer layer = graph::make_layer(std::move(class_name), std::move(name), std::move(attributes));
    if (!model.layers.empty()) layer.inputs = {model.layers.back().name};
    model.layers.push_back(std::move(layer));
  };
  add("InputLayer", "input", {{"shape", std::vector<int64_t>{8, 8, 1}}});
  add("Conv2D", "bias_conv",
      {{"filters", int64_t{4}}, {"kernel_size", std::vector<int64_t>{3, 3}}, {"activation", std::string("relu")}});
  add("Activation", "lin", {{"activation", std::string("linear")}});
  add("Flatten", "flatten", {});
  add("Dense", "head", {{"units", int64_t{3}}, {"activation", std::string("softmax")}});
  model.inputs = {"input"};
  model.outputs = {"head"};
  return model;
}

constexpr const char* kTables = R"j("quantization_config": {
  "kernel": {"binary": 1, "quantized_bits(4,0,1)" : 4
}
, "bias" : {"quantized_bits(8,3,1)" : 8},
           "activation" : {"quantized_relu(2)" : 2, "quantized_relu(3)" : 3},
                          "linear" : {
  "quantized_bits(4,1)" : 4
}
})j";

RunConfig config_with(const std::string& keys) { return parse_run_config(fmt::format("{{{}, {}}}", kTables, keys)); }

std::vector<std::string> names_of(const search::SearchSpace& space) {
  std::vector<std::string> names;
  for (const search::Parameter& parameter : space) names.push_back(parameter.name);
  return names;
}

search::Assignment last_of(const search::SearchSpace& space) {
  search::Assignment values;
  for (const search::Parameter& parameter : space) values[parameter.name] = parameter.candidates.back();
  return values;
}

search::Assignment first_of(const search::SearchSpace& space) {
  search::Assignment values;
  for (const search::Parameter& parameter : space) values[parameter.name] = parameter.candidates.front();
  return values;
}

using Names = std::vector<std::string>;

TEST(SearchSpace, LayerIndexesRemoveAllOfALayer) {
  const char* keys = R"("limit": {"Conv2D": [8, 8, 8], "Dense": [8, 8, 8]}, "layer_indexes": [1])";
  EXPECT_EQ(names_of(build_space(small_model(), config_with(keys))),
            (Names{"bias_conv_kernel_quantizer", "bias_conv_bias_quantizer", "bias_conv_activation_quantizer"}));
  // The reference still asks for the kernel of the excluded layer.
  const auto compat = config_with(std::string(keys) + R"(, "compat": "qkeras")");
  EXPECT_EQ(names_of(build_space(small_model(), compat))[1], "head_kernel_quantizer");
}

TEST(SearchSpace, FusedActivationsAreApplied) {
  const RunConfig config = config_with(R"("limit": {"Conv2D": [8, 8, 8]})");
  const auto values = last_of(build_space(small_model(), config));
  EXPECT_EQ(values.at("bias_conv_activation_quantizer"), "quantized_relu(3)");
  const graph::Model trial = build_trial(small_model(), config, values);
  EXPECT_EQ(trial.layer("bias_conv").get_quantizer("activation")->bit_width(), 3);
  const RunConfig compat = config_with(R"("limit": {"Conv2D": [8, 8, 8]}, "compat": "qkeras")");
  search::Assignment chosen = last_of(build_space(small_model(), compat));
  const graph::Model reference = build_trial(small_model(), compat, chosen);
  EXPECT_EQ(reference.layer("bias_conv").get_quantizer("activation")->bit_width(), 4);  // activation_bits
}

TEST(SearchSpace, NamesThatHoldFieldsAreNotMisread) {
  // The reference takes "bias_conv_activation" for a bias.
  const RunConfig config = config_with(R"("limit": {"Conv2D": [8, 8, 8]})");
  const auto space = build_space(small_model(), config);
  EXPECT_EQ(space[2].candidates, (Names{"quantized_relu(2)", "quantized_relu(3)"}));
  const auto compat = build_space(small_model(), config_with(R"("limit": {"Conv2D": [8, 8, 8]}, "compat": "qkeras")"));
  EXPECT_EQ(compat[2].candidates, (Names{"quantized_bits(8,3,1)"}));
}

TEST(SearchSpace, APatternKeepsLinearAndKernelApart) {
  const RunConfig config = config_with(R"("limit": {"^(lin|head)$": [8, 8, 8]})");
  EXPECT_EQ(names_of(build_space(small_model(), config)),
            (Names{"^(lin|head)$_kernel_quantizer", "^(lin|head)$_linear_quantizer", "^(lin|head)$_bias_quantizer"}));
}

// input of 3 steps -> the layer -> head
graph::Model model_around(graph::Layer layer, std::vector<int64_t> input = {3, 2}) {
  graph::Model model;
  model.layers = {graph::make_layer("InputLayer", "in", {{"shape", std::move(input)}}), std::move(layer),
                  graph::make_layer("Dense", "head", {{"units", int64_t{3}}})};
  model.layers[1].inputs = {"in"};
  model.layers[2].inputs = {model.layers[1].name};
  model.inputs = {"in"};
  model.outputs = {"head"};
  return model;
}

graph::Layer both_ways() {
  const graph::Layer inner = graph::make_layer("LSTM", "inner", {{"units", int64_t{4}}});
  return graph::make_layer("Bidirectional", "rnn", {{"layer", graph::as_inner_layer(inner)}});
}

// The reference leaves the gates of LSTM and GRU as they are.
TEST(SearchSpace, GatesOfRecurrentLayersAreChosen) {
  for (const bool compat : {false, true}) {
    for (const std::string name : {"SimpleRNN", "LSTM", "GRU", "Bidirectional"}) {
      SCOPED_TRACE(name);
      const RunConfig config = config_with(
          fmt::format(R"("limit": {{"{}": [8, 8, 1, 8]}}, "compat": "{}")", name, compat ? "qkeras" : "none"));
      const graph::Model model =
          model_around(name == "Bidirectional" ? both_ways() : graph::make_layer(name, "rnn", {{"units", int64_t{4}}}));
      const search::SearchSpace space = build_space(model, config);
      Names wanted = {"rnn_kernel_quantizer", "rnn_recurrent_kernel_quantizer", "rnn_bias_quantizer",
                      "rnn_activation_quantizer"};
      const bool has_gates = name != "SimpleRNN" && !compat;
      if (has_gates) wanted.emplace_back("rnn_recurrent_activation_quantizer");
      EXPECT_EQ(names_of(space), wanted);
      const graph::Layer layer = build_trial(model, config, last_of(space)).layer("rnn");
      EXPECT_EQ(layer.class_name, "Q" + name);
      const bool is_outer = name == "Bidirectional";
      for (const char* attribute : {"layer", "backward_layer"}) {
        const graph::Layer inner = is_outer ? graph::inner_layer(layer, attribute) : layer;
        EXPECT_EQ(inner.get_quantizer("kernel_quantizer")->bit_width(), 4);
        EXPECT_EQ(inner.get_quantizer("bias_quantizer")->bit_width(), 8);
        if (!has_gates) continue;
        EXPECT_EQ(inner.get_quantizer("recurrent_activation")->bit_width(), 3);
      }
    }
  }
}

TEST(SearchSpace, OneChoiceAloneReachesInsideABidirectional) {
  const RunConfig config = config_with(R"("limit": {"Bidirectional": [8, 8, 8, 8]})");
  const auto single =
      build_single(model_around(both_ways()), config, "rnn_recurrent_activation_quantizer", "quantized_relu(2)");
  ASSERT_TRUE(single.has_value());
  for (const char* attribute : {"layer", "backward_layer"}) {
    const graph::Layer inner = graph::inner_layer(single->layer("rnn"), attribute);
    EXPECT_EQ(inner.class_name, "QLSTM");
    EXPECT_EQ(inner.get_quantizer("recurrent_activation")->bit_width(), 2);
    EXPECT_EQ(inner.get_quantizer("kernel_quantizer"), nullptr);
    EXPECT_EQ(inner.activation_function(), "tanh");
  }
}

std::string canonical(const std::string& quantizer) {
  return quant::get_quantizer(quantizer)->as_weight_quantizer()->str();
}

// What the reference leaves as it is, or converts without quantizers. The last candidates are taken.
struct ChosenRow {
  const char* class_name;
  std::map<std::string, graph::Attribute> attributes;
  const char* limit;
  Names names;  // of the layer's hyperparameters, which is called x
  const char* becomes;
  std::map<std::string, std::string> quantizers;  // attribute -> text; empty: none
};

std::vector<ChosenRow> chosen_rows() {
  const std::string w = "quantized_bits(4,0,1)", b = "quantized_bits(8,3,1)", y = "quantized_bits(4,1)";
  const std::string average = "average_quantizer", gamma = "gamma_quantizer", beta = "beta_quantizer",
                    mean = "mean_quantizer", variance = "variance_quantizer";
  return {
      {"ReLU", {}, R"("ReLU": [8])", {"x_activation_quantizer"}, "QActivation", {{"activation", "quantized_relu(3)"}}},
      {"ReLU", {}, R"("^x": [2])", {"^x_activation_quantizer"}, "QActivation", {{"activation", "quantized_relu(2)"}}},
      // 0.3, rounded to a power of two.
      {"LeakyReLU",
       {},
       R"("LeakyReLU": [8])",
       {"x_activation_quantizer"},
       "QActivation",
       {{"activation", "quantized_relu(3,0,0,0.25)"}}},
      {"ReLU",
       {{"negative_slope", 0.5}},
       R"("^x$": [8, 8, 8])",
       {"^x$_leaky_activation_quantizer"},
       "QActivation",
       {{"activation", "quantized_relu(3,0,0,0.5)"}}},
      {"AveragePooling2D",
       {},
       R"("AveragePooling2D": [8, 8])",
       {"x_average_quantizer", "x_activation_quantizer"},
       "QAveragePooling2D",
       {{average, w}, {"activation", y}}},
      {"GlobalAveragePooling2D",
       {},
       R"("GlobalAveragePooling2D": [8])",
       {"x_average_quantizer"},
       "QGlobalAveragePooling2D",
       {{average, w}, {"activation", ""}}},
      {"AveragePooling2D", {}, R"("^(x|head)$": [8, 8, 8])", {}, "AveragePooling2D", {}},
      {"BatchNormalization", {}, R"("BatchNormalization": [])", {}, "QBatchNormalization", {{gamma, ""}}},
      {"BatchNormalization",
       {},
       R"("BatchNormalization": [4, 8])",
       {"x_gamma_quantizer", "x_beta_quantizer"},
       "QBatchNormalization",
       {{gamma, w}, {beta, b}, {mean, ""}, {variance, ""}}},
      {"BatchNormalization",
       {{"scale", false}},
       R"("^x$": [4, 8, 8, 4])",
       {"^x$_beta_quantizer", "^x$_mean_quantizer", "^x$_variance_quantizer"},
       "QBatchNormalization",
       {{gamma, ""}, {beta, b}, {mean, b}, {variance, w}}},
      {"BatchNormalization", {}, R"("^(x|head)$": [8, 8, 8])", {}, "QBatchNormalization", {{gamma, ""}, {beta, ""}}}};
}

TEST(SearchSpace, RectifiersAveragePoolsAndNormalizationsHaveChoices) {
  for (const ChosenRow& row : chosen_rows()) {
    SCOPED_TRACE(fmt::format("{} {}", row.class_name, row.limit));
    const graph::Model model = model_around(graph::make_layer(row.class_name, "x", row.attributes), {2, 2, 2});
    const std::string limit = fmt::format(R"("limit": {{{}}})", row.limit);
    const RunConfig config = config_with(limit);
    const search::SearchSpace space = build_space(model, config);
    Names names = names_of(space);
    std::erase_if(names, [](const std::string& name) { return name.starts_with("^(x|head)$_"); });
    EXPECT_EQ(names, row.names);
    const graph::Layer layer = build_trial(model, config, last_of(space)).layer("x");
    EXPECT_EQ(layer.class_name, row.becomes);
    for (const auto& [attribute, text] : row.quantizers) {
      const quant::QuantizerPtr quantizer = layer.get_quantizer(attribute);
      EXPECT_EQ(quantizer ? quantizer->as_weight_quantizer()->str() : "", text.empty() ? "" : canonical(text))
          << attribute;
    }
    for (const std::string& name : names_of(build_space(model, config_with(limit + R"(, "compat": "qkeras")")))) {
      EXPECT_TRUE(name.starts_with("^(x|head)$_")) << name << " with compat";
    }
  }
}

TEST(SearchSpace, ALeakyReluTakesQuantizersWithASlopeAndThoseThatAreNamed) {
  const auto config = [](const char* element) {
    return parse_run_config(fmt::format(
        R"j({{"quantization_config": {{"activation": {{"binary": 1, "quantized_relu(4,2)": 4}}}},
              "limit": {{"LeakyReLU": [{}]}}}})j",
        element));
  };
  const graph::Model model = model_around(graph::make_layer("LeakyReLU", "x"));
  EXPECT_EQ(build_space(model, config("4"))[0].candidates, (Names{"quantized_relu(4,2)"}));
  EXPECT_EQ(build_space(model, config(R"(["binary"])"))[0].candidates, (Names{"binary"}));
  try {
    build_space(model, config("2"));
    ADD_FAILURE() << "no error";
  } catch (const InvalidArgument& error) {
    for (const char* word : {"limit['LeakyReLU']", "layer 'x'", "up to 2", "negative_slope"}) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
  }
}

// A pool is converted by the quantizer of its average, so one stands in for it.
TEST(SearchSpace, OneChoiceAloneOfAPoolLeavesItsAverage) {
  const RunConfig config =
      config_with(R"("limit": {"AveragePooling2D": [8, 8], "LeakyReLU": [8], "Dense": [8, 8, 8]})");
  const graph::Model pools = model_around(graph::make_layer("AveragePooling2D", "x"), {2, 2, 2});
  const auto single = build_single(pools, config, "x_activation_quantizer", "quantized_bits(4,1)");
  ASSERT_TRUE(single.has_value());
  EXPECT_EQ(single->layer("x").class_name, "QAveragePooling2D");
  EXPECT_EQ(single->layer("x").get_quantizer("average_quantizer"), nullptr);
  EXPECT_EQ(single->layer("x").get_quantizer("activation")->bit_width(), 4);
  const graph::Model leaky = model_around(graph::make_layer("LeakyReLU", "x"));
  EXPECT_EQ(build_single(leaky, config, "head_kernel_quantizer", "binary")->layer("x").class_name, "LeakyReLU");
}

graph::Layer fed_by(graph::Layer layer, std::vector<std::string> inputs) {
  layer.inputs = std::move(inputs);
  return layer;
}

// in -> stem -> a -> b; add(stem, bn(b)); c beside it; d(pooled sum), added to the input's own 1x1 branch; head
graph::Model residual_model() {
  const auto conv = [](const char* name, int64_t filters) {
    return graph::make_layer(
        "Conv2D", name,
        {{"filters", filters}, {"kernel_size", std::vector<int64_t>{3, 3}}, {"padding", std::string("same")}});
  };
  graph::Model model;
  model.layers = {graph::make_layer("InputLayer", "in", {{"shape", std::vector<int64_t>{8, 8, 3}}}),
                  fed_by(conv("stem", 8), {"in"}),
                  fed_by(conv("a", 6), {"stem"}),
                  fed_by(conv("b", 8), {"a"}),
                  fed_by(graph::make_layer("BatchNormalization", "bn"), {"b"}),
                  fed_by(graph::make_layer("Add", "add"), {"stem", "bn"}),
                  fed_by(conv("c", 3), {"add"}),
                  fed_by(graph::make_layer("Add", "add_input"), {"c", "in"}),
                  fed_by(conv("d", 4), {"add_input"}),
                  fed_by(graph::make_layer("Flatten", "flatten"), {"d"}),
                  fed_by(graph::make_layer("Dense", "head", {{"units", int64_t{5}}}), {"flatten"})};
  model.inputs = {"in"};
  model.outputs = {"head"};
  return model;
}

// stem and b are added, so they are one choice; c is added to the input and head is the output, so they stay.
TEST(SearchSpace, FiltersOfBranchesThatAreAddedAreOneChoice) {
  const std::string keys = R"("limit": {"Conv2D": [8, 8, 8], "Dense": [8, 8, 8]}, "tune_filters": ")";
  const RunConfig config = config_with(keys + R"(layer", "filter_multipliers": [0.5, 1, 1.25])");
  const search::SearchSpace space = build_space(residual_model(), config);
  Names filters;
  for (const search::Parameter& parameter : space) {
    if (!parameter.name.starts_with("network_filters")) continue;
    filters.push_back(parameter.name);
    EXPECT_EQ(parameter.candidates, (Names{"0.5", "1.0", "1.25"}));
  }
  EXPECT_EQ(filters, (Names{"network_filters_stem", "network_filters_a", "network_filters_d"}));
  search::Assignment values = first_of(space);
  values["network_filters_a"] = "1.25";
  const graph::Model trial = build_trial(residual_model(), config, values);
  const std::map<std::string, int64_t> wanted = {{"stem", 4}, {"a", 7}, {"b", 4}, {"c", 3}, {"d", 2}};
  for (const auto& [layer, count] : wanted) EXPECT_EQ(trial.layer(layer).get_int("filters"), count) << layer;
  EXPECT_EQ(trial.layer("head").get_int("units"), 5);

  const RunConfig block = config_with(keys + "block\"");
  search::Assignment halves = first_of(build_space(residual_model(), block));
  halves["network_filters"] = "0.5";
  EXPECT_NO_THROW(build_trial(residual_model(), block, halves));
  // The reference gives each a choice of its own, which do not fit together.
  const RunConfig compat = config_with(keys + R"(layer", "compat": "qkeras")");
  search::Assignment apart = first_of(build_space(residual_model(), compat));
  EXPECT_TRUE(apart.contains("network_filters_b"));
  apart["network_filters_b"] = "2.0";
  EXPECT_THROW(build_trial(residual_model(), compat, apart), InvalidArgument);
}

// input of 8 -> hidden -> wide of 64 -> image of 4x4x4, which is the output or goes on to a head
graph::Model model_with_reshape(bool ends_there) {
  graph::Model model;
  model.layers = {
      graph::make_layer("InputLayer", "in", {{"shape", std::vector<int64_t>{8}}}),
      fed_by(graph::make_layer("Dense", "hidden", {{"units", int64_t{6}}}), {"in"}),
      fed_by(graph::make_layer("Dense", "wide", {{"units", int64_t{64}}}), {"hidden"}),
      fed_by(graph::make_layer("Reshape", "image", {{"target_shape", std::vector<int64_t>{4, 4, 4}}}), {"wide"})};
  model.inputs = {"in"};
  model.outputs = {"image"};
  if (ends_there) return model;
  model.layers.push_back(fed_by(graph::make_layer("Flatten", "flat"), {"image"}));
  model.layers.push_back(fed_by(graph::make_layer("Dense", "head", {{"units", int64_t{3}}}), {"flat"}));
  model.outputs = {"head"};
  return model;
}

// A Reshape that the limit names is scaled with what it is made of, but not where it gives the output; what goes
// through another one stays.
TEST(SearchSpace, AReshapeFollowsWhereTheLimitNamesItAndTheOutputAllows) {
  struct Row {
    bool ends_there, is_named;
    int64_t units, channels;  // of half the filters
  };
  for (const Row& row : std::vector<Row>{{false, true, 32, 2}, {false, false, 64, 4}, {true, true, 64, 4}}) {
    const RunConfig config = config_with(fmt::format(R"("limit": {{"Dense": [8, 8, 8]{}}}, "tune_filters": "block")",
                                                     row.is_named ? R"(, "image": [8])" : ""));
    const graph::Model model = model_with_reshape(row.ends_there);
    search::Assignment values = first_of(build_space(model, config));
    values["network_filters"] = "0.5";
    const graph::Model trial = build_trial(model, config, values);
    EXPECT_EQ(trial.layer("hidden").get_int("units"), 3);
    EXPECT_EQ(trial.layer("wide").get_int("units"), row.units);
    EXPECT_EQ(trial.layer("image").get_ints("target_shape").back(), row.channels);
  }
}

TEST(SearchSpace, FilterTuningScalesWithAtLeastOneFilter) {
  const RunConfig config = config_with(R"("limit": {"Conv2D": [8, 8, 8], "Dense": [8, 8, 8]}, "tune_filters": "block",
                     "tune_filters_exceptions": "^head")");
  const auto space = build_space(small_model(), config);
  for (const auto& [multiplier, filters] : std::map<std::string, int64_t>{{"0.5", 2}, {"0.75", 3}, {"2.0", 8}}) {
    search::Assignment values = last_of(space);
    values["network_filters"] = multiplier;
    const graph::Model trial = build_trial(small_model(), config, values);
    EXPECT_EQ(trial.layer("bias_conv").get_int("filters"), filters);
    EXPECT_EQ(trial.layer("head").get_int("units"), 3);
  }
}

TEST(SearchSpace, EveryTrialOfTheTutorialsNetworksFits) {
  for (const std::string& name : models::builtin_names()) {
    RunConfig config = parse_run_config(
        R"({"limit": {"Dense": [8,8,4], "Conv2D": [4,8,4], "DepthwiseConv2D": [4,8,4], "Activation": [4],
            "BatchNormalization": []}, "tune_filters": "layer", "tune_filters_exceptions": "^dense"})");
    const graph::Model model = models::make_builtin(name);
    const search::SearchSpace space = build_space(model, config);
    const CostMeter meter(config.goal, model, Compat::kNone);
    // Binary weights and half the filters, then 4-bit weights and twice the filters.
    EXPECT_LT(meter.measure(build_trial(model, config, first_of(space))).total_factor, 0) << name;
    EXPECT_GT(meter.measure(build_trial(model, config, last_of(space))).total_factor, 0) << name;
  }
}

struct BadCase {
  const char* name;
  const char* keys;
  std::vector<const char*> words;
};
class BadLimit : public ::testing::TestWithParam<BadCase> {};
TEST_P(BadLimit, SaysWhichLayerAndWhatIsThere) {
  try {
    build_space(small_model(), config_with(GetParam().keys));
    ADD_FAILURE() << "no error";
  } catch (const InvalidArgument& error) {
    for (const char* word : GetParam().words) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
  }
}
INSTANTIATE_TEST_SUITE_P(
    Cases, BadLimit,
    ::testing::ValuesIn(std::vector<BadCase>{
        {"NoCandidateLeft",
         R"("limit": {"Conv2D": [4, 2, 4]})",
         {"limit['Conv2D']", "bias of layer 'bias_conv'", "2 leaves no candidate", "is 8"}},
        {"MinusOne", R"("limit": {"Dense": [-1, 8, 8]})", {"limit['Dense']", "-1 leaves no candidate"}},
        {"UnknownChoice",
         R"j("limit": {"Dense": [["quantized_bits(4,0)"], 8, 8]})j",
         {"'quantized_bits(4,0)' is not in the kernel table", "quantized_bits(4,0,1)"}},
        {"PatternTooShort", R"("limit": {"^head$": [4]})", {"limit['^head$']", "has 1 elements", "needs element 1"}},
        {"KeyOfNoClass", R"("limit": {"Conv2DD": [8, 8, 8]})", {"limit: 'Conv2DD'", "'Conv2D'"}},
        {"KeyOfNoLayer", R"("limit": {"Dense": [8, 8, 8], "^haed$": [8, 8, 8]})", {"limit: '^haed$'", "'head'"}},
        {"ClassLeftAlone",
         R"("limit": {"Dense": [8, 8, 8], "MaxPooling2D": [4]})",
         {"class 'MaxPooling2D' as they are", "nothing follows", "AveragePooling2D"}},
        {"QuantizedClass", R"("limit": {"QDense": [8, 8, 8]})", {"class 'QDense' as they are", "BatchNormalization"}},
        {"LayerLeftAlone",
         R"("limit": {"Dense": [8, 8, 8], "^flat": [8]})",
         {"'^flat' fits only layers", "'flatten' (Flatten)", "nothing follows"}},
        {"TakenEarlier",
         R"("limit": {"^(lin|head)$": [8, 8, 8], "^head$": [4, 8, 8]})",
         {"nothing follows from '^head$'", "'^(lin|head)$', which stands before it"}},
        {"IndexOutside", R"("limit": {"Dense": [8, 8, 8]}, "layer_indexes": [5])", {"5 is outside", "5 layers"}},
    }),
    [](const auto& info) { return info.param.name; });

// Tables that a file gives stand for all of them: what it leaves out is not there.
TEST(BuildSpace, AMissingTableIsNamedWithItsLayerAndARow) {
  struct Row {
    std::string kept, limit;
    std::vector<std::string> words;
  };
  const std::string kernel = R"j("kernel": {"quantized_bits(4,0,1)": 4})j";
  const std::string bias = kernel + R"j(, "bias": {"quantized_bits(4,0,1)": 4})j";
  const std::vector<Row> rows = {
      {kernel,
       R"j({"Activation": [4]})j",
       {"layer 'lin'", "no linear table", "\"linear\": {\"quantized_bits(4,1)\": 4}"}},
      {kernel, R"j({"Dense": [4, 4, 4]})j", {"bias of layer 'head'", "no bias table", "\"bias\": {"}},
      {bias, R"j({"Conv2D": [4, 4, 4]})j", {"'bias_conv'", "no activation table", "\"quantized_relu(4,2)\": 4"}},
      // A list of quantizers names a table as well.
      {kernel, R"j({"Dense": [4, ["binary"], 4]})j", {"layer 'head'", "no bias table", "take the key out of limit"}},
  };
  for (const Row& row : rows) {
    const RunConfig config =
        parse_run_config(fmt::format(R"j({{"quantization_config": {{{}}}, "limit": {}}})j", row.kept, row.limit));
    try {
      build_space(small_model(), config);
      ADD_FAILURE() << "no error for " << row.limit;
    } catch (const InvalidArgument& error) {
      for (const std::string& word : row.words) {
        EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
      }
    }
  }
}

TEST(BuildSpace, KeysThatFitNothingAreLeftAloneWhereTheClassIsKnownOrForCompat) {
  EXPECT_EQ(build_space(small_model(), config_with(R"("limit": {"Dense": [8, 8, 8], "LSTM": [8, 8, 8, 8]})")).size(),
            build_space(small_model(), config_with(R"("limit": {"Dense": [8, 8, 8]})")).size());
  EXPECT_NO_THROW(build_space(
      small_model(), config_with(R"("compat": "qkeras", "limit": {"Dense": [8, 8, 8, 8], "^conv2d_99$": [8]})")));
}

TEST(BuildTrial, RefusesValuesThatFitNoCandidate) {
  const RunConfig config = config_with(R"("limit": {"Dense": [8, 8, 8]})");
  search::Assignment values = last_of(build_space(small_model(), config));
  search::Assignment missing = values, unknown = values, other = values;
  missing.erase("head_kernel_quantizer");
  unknown["head_kernel"] = "binary";
  other["head_kernel_quantizer"] = "ternary";
  for (const auto& bad : {missing, unknown, other}) {
    EXPECT_THROW(build_trial(small_model(), config, bad), InvalidArgument);
  }
}

TEST(CostMeter, StressCountsByDefault) {
  const auto meter = [](const char* compat) {
    const RunConfig config = parse_run_config(
        fmt::format(R"({{"goal": {{"type": "energy", "params": {{"stress": 0.5}}}}, "compat": "{}"}})", compat));
    return CostMeter(config.goal, small_model(), config.compat).measure(small_model()).delta;
  };
  EXPECT_LT(meter("none"), meter("qkeras"));
}

TEST(CostMeter, AClassOfTheBitsGoalHoldsForItsQuantizedTwin) {
  const RunConfig config = config_with(
      R"("goal": {"type": "bits", "params": {"config": {"Dense": ["parameters"]}}}, "limit": {"Dense": [4, 8, 8]})");
  const graph::Model model = small_model();
  const CostMeter meter(config.goal, model, config.compat);
  const double weights = 6 * 6 * 4 * 3, biases = 3;
  EXPECT_EQ(meter.reference(), 8 * (weights + biases));
  EXPECT_EQ(meter.measure(build_trial(model, config, last_of(build_space(model, config)))).cost,
            4 * weights + 8 * biases);
}

graph::Model powers_of_two(bool with_weights) {
  graph::Model model;
  model.layers.push_back(graph::make_layer("InputLayer", "input", {{"shape", std::vector<int64_t>{8}}}));
  model.layers.push_back(graph::make_layer(
      "QDense", "dense", {{"units", int64_t{64}}, {"kernel_quantizer", std::string("quantized_po2(4)")}}));
  model.layers.back().inputs = {"input"};
  model.inputs = {"input"};
  model.outputs = {"dense"};
  if (with_weights) graph::initialize_weights(model, 1);
  return model;
}

// A multiplication by a power of two costs by the values that there are.
TEST(CostMeter, ATrainedModelCountsWithItsWeights) {
  const auto cost = [](bool is_trained, bool with_weights) {
    const RunConfig config = parse_run_config(
        fmt::format(R"({{"goal": {{"type": "energy", "params": {{"trained_model": {}}}}}, "transfer_weights": true}})",
                    is_trained));
    return CostMeter(config.goal, powers_of_two(false), config.compat).measure(powers_of_two(with_weights)).cost;
  };
  EXPECT_EQ(cost(false, true), cost(false, false));
  EXPECT_EQ(cost(true, false), cost(false, false));
  EXPECT_NE(cost(true, true), cost(false, true));
}

}  // namespace
}  // namespace nibble::autoq
