// nibble/program/fast/compared_programs.h
// For tests of the fast executor: programs of small networks, each compared with the reference.
#pragma once

#include <cstdint>
#include <string>

#include "nibble/graph/builder.h"
#include "nibble/graph/builder_convolution.h"
#include "nibble/program/lowering.h"

namespace nibble::program {

// The network's, with weights and statistics that make every layer work for its codes: batch norms fall for some
// channels.
Program program_of(const graph::build::Node& in, const graph::build::Node& out, const LoweringOptions& options = {});

inline const std::string kWeights4 = "quantized_bits(4,0,1,alpha=1.0)", kWeights8 = "quantized_bits(8,0,1,alpha=1.0)";

graph::build::Node act(const graph::build::Node& x, const std::string& quantizer);
// 3x3 where `more` does not say otherwise.
graph::build::Node conv(const graph::build::Node& x, int64_t filters, const std::string& weights,
                        graph::build::QConv2DOptions more = {});
graph::build::Node dense(const graph::build::Node& x, int64_t units, const std::string& weights = kWeights4);
// conv - batch norm - activation, and a classifier.
graph::build::Node classifier(const graph::build::Node& in, const std::string& weights, const std::string& activation,
                              int64_t filters = 20);

// Outputs of so many samples, with everything merged.
void expect_the_same(const Program& program, int64_t count);
// Every operation's result, with nothing merged.
void expect_the_same_integers(const Program& program);

}  // namespace nibble::program
