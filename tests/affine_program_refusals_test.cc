// Affine networks that are no integer programs, and what is said of them.
#include <gtest/gtest.h>

#include "affine_networks.h"
#include "nibble/core/error.h"
#include "nibble/program/lowering.h"

namespace nibble {
namespace {

using namespace graph::build;

template <class Kind>
std::string message(const graph::Model& model) {
  try {
    program::lower(model);
  } catch (const Kind& error) {
    return error.what();
  }
  return "(was lowered)";
}

TEST(AffineProgramRefusals, Refuses) {
  graph::Model model = plain();
  graph::initialize_weights(model, 1);
  EXPECT_NE(message<Unsupported>(model).find("'nibble qat'"), std::string::npos) << message<Unsupported>(model);
  const graph::Model fresh = qat::quantize_model(model);
  EXPECT_NE(message<InvalidArgument>(fresh).find("still the one it started with"), std::string::npos);
  qat::Scheme scheme;
  qat::set_quantizer(scheme, "lsq_plus");
  graph::Model offset = calibrated(plain(), scheme);
  offset.layer("conv0").find_weight("post_activation_offset")->value[0] = 0.1f;
  const std::string text = message<Unsupported>(offset);
  EXPECT_NE(text.find("real 0 has no code"), std::string::npos) << text;
  qat::set_quantizer(scheme, "pact");
  graph::Model clipped = calibrated(plain(), scheme);
  clipped.layer("conv0").find_weight("post_activation_alpha")->value[0] = -1.0f;
  EXPECT_NE(message<InvalidArgument>(clipped).find("clipping level of -1"), std::string::npos);
}

// What TFMOT's layout leaves float is told by its points, and what quantizes it.
TEST(AffineProgramRefusals, SaysWhatTfmotLeavesOut) {
  const Node in = image();
  const Node separate = ReLU({.name = "relu0"})(conv(in, 6, "conv0"));
  const auto lowered = [](const Node& in, const Node& out, const char* scheme) {
    return message<Unsupported>(
        qat::unfold_batch_norms(calibrated(build_model({in}, {out}, "model"), qat::scheme_named(scheme))));
  };
  const std::string text = lowered(in, classifier(separate), "tfmot8");
  EXPECT_NE(text.find("layer 'conv0' (Conv2D) has no point 'kernel'"), std::string::npos) << text;
  EXPECT_NE(text.find("'nibble qat --scheme int8'"), std::string::npos) << text;
  EXPECT_EQ(lowered(in, classifier(separate), "int8"), "(was lowered)");
  EXPECT_EQ(lowered(in, classifier(conv(in, 6, "conv0", "relu")), "tfmot8"), "(was lowered)");
  // A sigmoid is quantized before, not behind.
  const std::string sigmoid = lowered(in, classifier(conv(in, 6, "conv0", "sigmoid")), "tfmot8");
  EXPECT_NE(sigmoid.find("the point 'output' of 'conv0', or 'post_activation', which it lacks"), std::string::npos)
      << sigmoid;
}

// The program's integers end before a softmax: a point behind it has none.
TEST(AffineProgramRefusals, RefusesAPointBehindTheSoftmax) {
  graph::Model model = calibrated(only(), qat::scheme_named("int8"));
  graph::LayerQuantization quantization = *model.layer("dense").quantization;
  quantization.pre_activation = {};
  quantization.output = {.kind = graph::AffineKind::kDorefa};
  graph::set_quantization(model, "dense", quantization);
  const std::string text = message<Unsupported>(model);
  EXPECT_NE(text.find("layer 'dense': its point 'output' quantizes what the softmax gives"), std::string::npos) << text;
  EXPECT_NE(text.find("'pre_activation'"), std::string::npos) << text;
}

}  // namespace
}  // namespace nibble
