// What differs from AutoQKeras by default, and what is refused. The rest: search_space_golden_test.
#include "nibble/autoq/search_space.h"

#include <gtest/gtest.h>

#include "nibble/autoq/small_space.h"
#include "nibble/core/error.h"
#include "nibble/graph/layers_recurrent.h"

namespace nibble::autoq {
namespace {

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
        {"PatternTooShort", R"("limit": {"^head$": [4]})", {"limit['^head$']", "has 1 of the 2 elements"}},
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

}  // namespace
}  // namespace nibble::autoq
