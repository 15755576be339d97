// Graphs whose sums and outputs must survive whatever is chosen for the layers that stay free.
#include "nibble/autoq/filter_groups.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "nibble/core/philox.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/builder_shape.h"

namespace nibble::autoq {
namespace {

using namespace graph::build;
using Nodes = std::vector<Node>;
using Sets = std::set<std::set<std::string>>;

Node image() { return Input({.shape = {4, 4, 3}, .name = "in"}); }
Node row() { return Input({.shape = {8}, .name = "in"}); }
LayerCall conv(const std::string& name, int64_t filters) {
  return Conv2D({.filters = filters, .kernel_size = {3, 3}, .padding = "same", .name = name});
}
LayerCall grouped(const std::string& name, int64_t filters, int64_t groups) {
  return Conv2D({.filters = filters, .kernel_size = {3, 3}, .padding = "same", .groups = groups, .name = name});
}
LayerCall first_conv(const std::string& name, int64_t filters) {
  return Conv2D({.filters = filters,
                 .kernel_size = {3, 3},
                 .padding = "same",
                 .name = name,
                 .more = {{"data_format", std::string("channels_first")}}});
}
LayerCall dense(const std::string& name, int64_t units) { return Dense({.units = units, .name = name}); }
LayerCall noise() { return layer("GaussianNoise", "noise", {{"stddev", 0.1}}); }
LayerCall relu(const std::string& name) { return Activation({.activation = "relu", .name = name}); }
LayerCall add(const std::string& name = "add") { return layer("Add", name); }
LayerCall concatenate(const std::string& name = "cat", int64_t axis = -1) {
  return layer("Concatenate", name, {{"axis", axis}});
}
LayerCall reshape(std::vector<int64_t> target) { return Reshape({.target_shape = std::move(target), .name = "shape"}); }

// Ends in a classifier, whose units stay.
graph::Model with_head(const Node& in, const Node& last) {
  return build_model({in}, {dense("head", 5)(Flatten({.name = "flat"})(last))});
}

struct Case {
  const char* name;
  graph::Model model;
  Sets groups;  // of the Dense and Conv2D layers that may change
};

// Outputs whose size follows from layers before.
std::vector<Case> output_cases() {
  const Node in = row(), trunk = dense("trunk", 16)(in), a = dense("a", 5)(trunk), b = dense("b", 5)(trunk);
  const Node softmax = Activation({.activation = "softmax", .name = "softmax"})(noise()(a));
  const Node nested = concatenate("outer")(Nodes{concatenate()(Nodes{a, b}), dense("c", 2)(trunk)});
  const Node last = dense("last", 64)(relu("act")(a));
  const Node picture = image(), maps = conv("maps", 2)(picture);
  return {{"NoiseBeforeTheOutput", build_model({in}, {softmax}), {{"trunk"}}},
          {"AConcatenationGivesTheOutput", build_model({in}, {relu("end")(concatenate()(Nodes{a, b}))}), {{"trunk"}}},
          {"ConcatenationsWithinOneAnother", build_model({in}, {nested}), {{"trunk"}}},
          {"AReshapeGivesTheOutput", build_model({in}, {reshape({8, 8, 1})(last)}), {{"trunk"}, {"a"}}},
          {"AnOpenReshapeGivesTheOutput", build_model({in}, {reshape({8, -1})(last)}), {{"trunk"}, {"a"}}},
          {"EveryOutputStays",
           build_model({in}, {dense("c", 2)(a), concatenate()(Nodes{b, dense("d", 3)(a)})}),
           {{"trunk"}, {"a"}}},
          {"AnOutputThatIsReadFurtherOn", build_model({in}, {a, dense("c", 2)(dense("d", 4)(a))}), {{"trunk"}, {"d"}}},
          {"APermutedOutput", build_model({picture}, {Permute({.dims = {3, 1, 2}, .name = "order"})(maps)}), {}}};
}

// Sums and products of what is derived from layers.
std::vector<Case> join_cases() {
  const Node in = image(), stem = conv("stem", 4)(in), a = conv("a", 2)(stem), b = conv("b", 2)(stem);
  const Node both = concatenate()(Nodes{a, b}), c = conv("c", 4)(stem), mask = conv("mask", 1)(stem);
  const Node squeezed = dense("s", 2)(GlobalAveragePooling2D({.keepdims = true, .name = "pool"})(c));
  const Node excited = layer("Multiply", "scale")(Nodes{c, dense("e", 4)(squeezed)});
  const Node deep =
      DepthwiseConv2D({.kernel_size = {3, 3}, .padding = "same", .depth_multiplier = 2, .name = "deep"})(a);
  const auto flat = [](const char* name, const Node& node) { return Flatten({.name = name})(node); };
  return {
      {"BranchesOfAResidualBlock",
       with_head(in, add()(Nodes{stem, BatchNormalization({.name = "bn"})(conv("d", 4)(a))})),
       {{"stem", "d"}, {"a"}}},
      {"NoiseInABranch", with_head(in, add()(Nodes{noise()(c), conv("d", 4)(in)})), {{"stem"}, {"c", "d"}}},
      {"AConcatenationIsAdded", with_head(in, conv("d", 3)(add()(Nodes{both, c}))), {{"stem"}, {"d"}}},
      // By the stem all else would have to follow.
      {"AConcatenationIsAddedToItsOwnInput", with_head(in, add()(Nodes{both, stem})), {}},
      {"AConcatenationIsAddedToItself", with_head(in, add()(Nodes{both, relu("act")(both)})), {{"stem"}, {"a"}, {"b"}}},
      {"AConcatenationAlongRows", with_head(in, concatenate("rows", 1)(Nodes{a, b})), {{"stem"}, {"a", "b"}}},
      {"WhatIsRepeatedStays", with_head(in, layer("Multiply", "masked")(Nodes{c, mask})), {{"stem"}, {"c"}}},
      {"SqueezeAndExcite", with_head(in, excited), {{"stem"}, {"c", "e"}, {"s"}}},
      {"ManyFromOneChannel", with_head(in, add()(Nodes{deep, c})), {{"stem"}}},
      {"ImagesAreAddedFlat", with_head(in, add()(Nodes{flat("flat_a", a), flat("flat_b", b)})), {{"stem"}, {"a", "b"}}},
      {"AnImageAndARowAreAdded",
       with_head(in, add()(Nodes{flat("flat_a", a), dense("d", 32)(flat("flat_in", in))})),
       {{"stem"}}}};
}

// Convolutions of several groups, which divide both numbers of channels.
std::vector<Case> grouped_cases() {
  const Node in = image(), stem = conv("stem", 6)(in), a = conv("a", 4)(stem), b = conv("b", 2)(stem);
  const Node halves = grouped("halves", 8, 2)(relu("act")(a));
  const Node deep =
      DepthwiseConv2D({.kernel_size = {3, 3}, .padding = "same", .depth_multiplier = 3, .name = "deep"})(b);
  return {{"GroupsKeepTheirFiltersAndWhatTheyRead", with_head(in, conv("c", 3)(halves)), {{"stem"}, {"c"}}},
          {"GroupsOfAConcatenation", with_head(in, grouped("g", 6, 3)(concatenate()(Nodes{a, b}))), {{"stem"}}},
          {"GroupsOfADepthwiseConvolution", with_head(in, conv("c", 3)(grouped("g", 6, 6)(deep))), {{"stem"}, {"c"}}},
          {"GroupsAreAdded", with_head(in, add()(Nodes{halves, conv("c", 8)(in)})), {{"stem"}}},
          {"GroupsOfTheInput", with_head(in, conv("c", 3)(grouped("g", 6, 3)(in))), {{"c"}}},
          {"OneGroupIsNone", with_head(in, grouped("g", 6, 1)(stem)), {{"stem"}, {"g"}}}};
}

// Numbers that move between axes.
std::vector<Case> axis_cases() {
  const Node in = image(), a = conv("a", 6)(in);
  const Node tokens = reshape({16, -1})(a);
  const auto turn = [](const char* name) { return Permute({.dims = {2, 1}, .name = name}); };
  // As in an MLP mixer: "mix" gives as many numbers as there are tokens.
  const Node mix = dense("mix", 16)(dense("hidden", 10)(turn("turn")(tokens)));
  const Node x = row(), p = dense("p", 6)(x), q = dense("q", 6)(x);
  const Node first = Input({.shape = {3, 4, 4}, .name = "in"}), u = first_conv("u", 2)(first);
  const Node v = first_conv("v", 2)(first), w = first_conv("w", 4)(first);
  return {{"AnOpenExtentFollows", with_head(in, tokens), {{"a"}}},
          {"AWrittenExtentDoesNot", with_head(in, reshape({16, 6})(a)), {}},
          {"AnOpenExtentThatWouldNotDivide", with_head(x, reshape({3, -1})(p)), {}},
          {"AMixer", with_head(in, add()(Nodes{tokens, turn("back")(mix)})), {{"a"}, {"hidden"}}},
          {"ContractedAxesAgree", build_model({x}, {Dot({.axes = {1}, .name = "dot"})(Nodes{p, q})}), {{"p", "q"}}},
          {"ChannelsFirst", with_head(first, add()(Nodes{concatenate("cat", 1)(Nodes{u, v}), w})), {}},
          {"ChannelsFirstSideBySide", with_head(first, concatenate("cat", 1)(Nodes{u, v, w})), {{"u"}, {"v"}, {"w"}}},
          {"ChannelsFirstAdded", with_head(first, add()(Nodes{u, relu("act")(v)})), {{"u", "v"}}}};
}

std::vector<Case> all_cases() {
  std::vector<Case> cases = output_cases();
  for (auto more : {join_cases, grouped_cases, axis_cases}) {
    for (Case& row : more()) cases.push_back(std::move(row));
  }
  return cases;
}

bool is_tuned(const graph::Layer& layer) { return layer.class_name == "Dense" || layer.class_name == "Conv2D"; }

class FilterGroups : public ::testing::TestWithParam<Case> {};

TEST_P(FilterGroups, AreTheLayersThatMayChange) {
  std::map<std::string, std::set<std::string>> members;  // by the first
  for (const auto& [layer, leader] : filter_groups(GetParam().model, is_tuned)) members[leader].insert(layer);
  Sets groups;
  for (const auto& [leader, group] : members) {
    EXPECT_TRUE(group.contains(leader)) << leader;
    groups.insert(group);
  }
  EXPECT_EQ(groups, GetParam().groups);
}

// Multipliers that round, drawn for each group.
TEST_P(FilterGroups, EveryChoiceKeepsShapesThatFitAndTheOutput) {
  const graph::Model& model = GetParam().model;
  const auto before = graph::infer_shapes(model);
  const auto groups = filter_groups(model, is_tuned);
  const double multipliers[] = {0.3, 0.5, 0.75, 1.25, 2.0};
  RandomStream stream({4, RandomPurpose::kTest, 0, 0});
  for (int k = 0; k < 30; ++k) {
    graph::Model scaled = model;
    std::map<std::string, double> chosen;
    for (const auto& [name, leader] : groups) {
      const double multiplier = chosen.emplace(leader, multipliers[stream.below(5)]).first->second;
      graph::Layer& layer = scaled.layer(name);
      const char* attribute = layer.class_name == "Dense" ? "units" : "filters";
      const double filters = static_cast<double>(layer.get_int(attribute)) * multiplier;
      layer.attributes[attribute] = std::max<int64_t>(1, static_cast<int64_t>(filters));
    }
    const auto shapes = graph::infer_shapes(scaled);  // throws where a sum does not fit
    for (const std::string& output : model.outputs) EXPECT_EQ(shapes.at(output), before.at(output)) << output;
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, FilterGroups, ::testing::ValuesIn(all_cases()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace nibble::autoq
