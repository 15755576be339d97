#include "nibble/report/sample_report.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "nibble/core/error.h"
#include "nibble/core/philox.h"

namespace nibble::report {
namespace {

RandomStream stream(uint32_t index) {
  return RandomStream({.seed = 7, .purpose = RandomPurpose::kTest, .layer = index});
}

struct SampleLayer {
  const char* name;
  const char* type;
  const char *kernel, *bias, *activation;
  int filters, reference_filters;  // 0: none
  int64_t parameters;
  double reference_energy_nj, energy_nj;
};

// clang-format off
constexpr SampleLayer kLayers[] = {
    {"conv2d_0", "QConv2D", "quantized_bits(4,0,1,alpha=1.0)", "quantized_bits(4,0,1)", "", 16, 32, 160, 8.489, 1.204},
    {"bn_0", "QBatchNormalization", "", "", "", 0, 0, 64, 0.004, 0.002},
    {"act_0", "QActivation", "", "", "quantized_relu(3,1)", 0, 0, 0, 0.295, 0.111},
    {"conv2d_1", "QConv2D", "stochastic_ternary", "quantized_bits(4,0,1)", "", 24, 32, 3480, 199.821, 6.912},
    {"bn_1", "QBatchNormalization", "", "", "", 0, 0, 96, 0.007, 0.003},
    {"act_1", "QActivation", "", "", "quantized_relu(4,2)", 0, 0, 0, 0.112, 0.056},
    {"conv2d_2", "QConv2D", "quantized_po2(4,1)", "quantized_bits(8,3,1)", "", 48, 64, 10416, 195.832, 11.377},
    {"bn_2", "QBatchNormalization", "", "", "", 0, 0, 192, 0.009, 0.005},
    {"act_2", "QActivation", "", "", "quantized_relu_po2(4,4)", 0, 0, 0, 0.049, 0.024},
    {"conv2d_3", "QConv2D", "binary", "quantized_po2(4,8)", "", 64, 64, 27712, 98.723, 3.046},
    {"bn_3", "QBatchNormalization", "", "", "", 0, 0, 256, 0.012, 0.006},
    {"act_3", "QActivation", "", "", "quantized_relu(3,1)", 0, 0, 0, 0.020, 0.008},
    {"conv2d_4", "QConv2D", "quantized_bits(2,1,1,alpha=1.0)", "quantized_bits(4,0,1)", "", 96, 128, 55392, 69.590, 4.871},
    {"bn_4", "QBatchNormalization", "", "", "", 0, 0, 384, 0.019, 0.009},
    {"act_4", "QActivation", "", "", "quantized_relu(4,2)", 0, 0, 0, 0.012, 0.006},
    {"flatten", "Flatten", "", "", "", 0, 0, 0, 0.012, 0.006},
    {"dense", "QDense", "quantized_bits(8,0,1,alpha=1.0)", "quantized_bits(8,3,1)", "", 10, 10, 970, 1.167, 0.402},
    {"softmax", "Activation", "", "", "softmax", 0, 0, 0, 0.002, 0.002},
};
// clang-format on

constexpr int kBestTrial = 13;

EnergySplit sample_split(const SampleLayer& sample) {
  const std::string_view type = sample.type;
  if (type == "QActivation") return {.outputs_nj = sample.energy_nj};
  if (type == "QBatchNormalization") return {.parameters_nj = sample.energy_nj};
  if (sample.parameters == 0) return {.inputs_nj = sample.energy_nj};
  return {.operations_nj = 0.75 * sample.energy_nj,
          .parameters_nj = 0.125 * sample.energy_nj,
          .inputs_nj = 0.125 * sample.energy_nj};
}

LayerRow layer_row(const SampleLayer& sample) {
  LayerRow row{.name = sample.name,
               .type = sample.type,
               .kernel = sample.kernel,
               .bias = sample.bias,
               .activation = sample.activation,
               .reference_energy_nj = sample.reference_energy_nj,
               .energy_nj = sample.energy_nj,
               .energy_parts = sample_split(sample)};
  if (sample.filters > 0) row.filters = sample.filters;
  if (sample.reference_filters > 0) row.reference_filters = sample.reference_filters;
  if (sample.parameters > 0) row.parameters = sample.parameters;
  return row;
}

template <size_t N>
std::string pick(RandomStream& random, const std::array<const char*, N>& from) {
  return from[random.below(N)];
}

std::vector<std::pair<std::string, std::string>> choices(int number) {
  RandomStream random = stream(static_cast<uint32_t>(100 + number));
  constexpr std::array kKernels{"binary", "stochastic_ternary", "quantized_bits(2,1,1,alpha=1.0)",
                                "quantized_po2(4,1)"};
  constexpr std::array kBiases{"quantized_bits(4,0,1)", "quantized_bits(8,3,1)", "quantized_po2(4,8)"};
  constexpr std::array kActivations{"quantized_relu(3,1)", "quantized_relu(4,2)", "quantized_relu_po2(4,4)"};
  constexpr std::array kFilters{"0.5", "0.75", "1.0", "1.5"};
  std::vector<std::pair<std::string, std::string>> list;
  for (int i = 0; i < 5; ++i) {
    list.emplace_back(fmt::format("conv2d_{}_kernel_quantizer", i), pick(random, kKernels));
    list.emplace_back(fmt::format("conv2d_{}_bias_quantizer", i), pick(random, kBiases));
    list.emplace_back(fmt::format("act_{}_activation_quantizer", i), pick(random, kActivations));
    list.emplace_back(fmt::format("network_filters_conv2d_{}", i), pick(random, kFilters));
  }
  return list;
}

TrialRow trial_row(int number) {
  RandomStream random = stream(static_cast<uint32_t>(number));
  TrialRow row{.number = number, .choices = choices(number)};
  const double energy = 27 * std::pow(10.0, 0.8 * random.uniform_double());
  const double error = 0.011 + 0.09 * std::pow(random.uniform_double(), 3) + 0.25 / energy;
  row.energy_nj = number == kBestTrial ? 28.035 : energy;
  row.accuracy = number == kBestTrial ? 0.9826 : 1 - error;
  row.score = *row.accuracy * (1 + 0.08 * std::log2(574.175 / *row.energy_nj));
  row.weight_bits = static_cast<int64_t>(90000 + 4000 * *row.energy_nj);
  if (number == 4 || number == 16) {
    row = {.number = number,
           .state = search::TrialState::kFailed,
           .reason = "The loss became NaN in epoch 3, step 12; a smaller learning rate may help.",
           .choices = row.choices};
  }
  if (number == 9) row.accuracy = 0.1135, row.score = 0.16;  // learned nothing: it must not squeeze the others
  if (number == 19) row = {.number = number, .state = search::TrialState::kRunning, .choices = row.choices};
  return row;
}

std::vector<CurvePoint> curve(double error, int epochs, uint32_t index) {
  RandomStream random = stream(1000 + index);
  std::vector<CurvePoint> points;
  for (int epoch = 1; epoch <= epochs; ++epoch) {
    const double rest = error + (0.35 - error) * std::exp(-0.55 * epoch) * (1 + 0.3 * random.uniform_double());
    const double noise = 1 + 0.12 * (random.uniform_double() - 0.5);
    points.push_back({.epoch = epoch,
                      .loss = 3.4 * rest * noise,
                      .accuracy = 1 - 1.15 * rest * noise,
                      .val_loss = 3.0 * rest,
                      .val_accuracy = 1 - rest,
                      .learning_rate = 0.02});
  }
  return points;
}

// Codes of normally distributed weights, clipped to the codes that the quantizer has.
quant::Encoded sample_codes(int64_t count, int lowest, int highest, double spread, int bit_width, uint32_t index) {
  RandomStream random = stream(2000 + index);
  quant::Encoded encoded;
  encoded.bit_width = bit_width;
  for (int64_t i = 0; i < count; ++i) {
    const double code = std::clamp(std::round(spread * random.normal()), 1.0 * lowest, 1.0 * highest);
    encoded.codes.push_back(static_cast<int32_t>(code));
  }
  encoded.scale = Tensor(Shape{1, 1, 1, 2}, {0.125f, 0.25f});
  return encoded;
}

quant::Encoded sample_powers(int64_t count) {
  RandomStream random = stream(3000);
  quant::Encoded encoded;
  encoded.kind = quant::Encoded::Kind::kPowerOfTwo;
  encoded.bit_width = 4;
  for (int64_t i = 0; i < count; ++i) {
    const double real = 0.3 * random.normal();
    encoded.codes.push_back(std::clamp(static_cast<int32_t>(std::lround(std::log2(std::abs(real) + 1e-6))), -7, 0));
    encoded.signs.push_back(real < 0 ? -1 : 1);
  }
  encoded.scale = Tensor::scalar(1.0f);
  return encoded;
}

quant::Encoded sample_signs(int64_t count) {
  RandomStream random = stream(3001);
  quant::Encoded encoded;
  encoded.bit_width = 1;
  for (int64_t i = 0; i < count; ++i) encoded.codes.push_back(random.uniform() < 0.47f ? -1 : 1);
  encoded.scale = Tensor(Shape{1, 1, 1, 2}, {0.0625f, 0.25f});
  return encoded;
}

std::vector<WeightHistogram> histograms() {
  const auto kernel = [](const char* layer, const char* quantizer, const quant::Encoded& encoded) {
    return WeightHistogram{
        .layer = layer, .tensor = "kernel", .quantizer = quantizer, .codes = code_histogram(encoded)};
  };
  return {kernel("conv2d_0", "quantized_bits(4,0,1,alpha=1.0)", sample_codes(144, -7, 7, 3.0, 4, 0)),
          kernel("conv2d_1", "stochastic_ternary", sample_codes(3456, -1, 1, 0.7, 2, 1)),
          kernel("conv2d_2", "quantized_po2(4,1)", sample_powers(10368)),
          kernel("conv2d_3", "binary", sample_signs(27648)),
          kernel("conv2d_4", "quantized_bits(2,1,1,alpha=1.0)", sample_codes(55296, -1, 1, 0.6, 2, 4)),
          kernel("dense", "quantized_bits(8,0,1,alpha=1.0)", sample_codes(960, -127, 127, 30.0, 8, 5))};
}

}  // namespace

ReportData sample_search_report() {
  ReportData data{.title = "AutoQKeras search on mnist",
                  .model = {.name = "mnist", .parameters = 98130, .weight_bits = 202140},
                  .dataset = {.name = "mnist", .train_samples = 60000, .test_samples = 10000},
                  .goal = "The score is accuracy, raised by 8 % of itself for every halving of the energy."};
  data.references = {{.name = "int8", .energy_nj = 574.175},
                     {.name = "fp32", .energy_nj = 3295.37, .accuracy = 0.9907}};
  for (int number = 0; number < 20; ++number) data.trials.push_back(trial_row(number));
  data.hypervolume = HypervolumeGrowth{.axes = {{.metric = "accuracy", .maximise = true, .reference = 0.91},
                                                {.metric = "cost", .maximise = false, .reference = 212400}},
                                       .trials = 19,
                                       .steps = {{2, 1, 1'700'000'090'000, 4210.5},
                                                 {3, 2, 1'700'000'131'000, 9120.25},
                                                 {7, 6, 1'700'000'420'000, 11800},
                                                 {14, kBestTrial, 1'700'000'911'000, 13950.75}}};
  data.outcome = Outcome{.trial = kBestTrial,
                         .accuracy = 0.9826,
                         .loss = 0.0561,
                         .energy_nj = 28.035,
                         .score = data.trials[kBestTrial].score};
  for (const SampleLayer& sample : kLayers) data.layers.push_back(layer_row(sample));
  data.histograms = histograms();
  data.curves.push_back({.name = "best (trial 13)", .trial = kBestTrial, .points = curve(0.0174, 20, kBestTrial)});
  for (const TrialRow& trial : data.trials) {
    if (trial.number == kBestTrial || !trial.accuracy) continue;
    data.curves.push_back({.name = fmt::format("trial {}", trial.number),
                           .trial = trial.number,
                           .points = curve(1 - *trial.accuracy, 20, static_cast<uint32_t>(trial.number))});
  }
  data.settings = {{"mode", "random"},
                   {"trials", "20"},
                   {"seed", "1"},
                   {"epochs", "20"},
                   {"batch size", "1024"},
                   {"optimizer", "adam, learning rate 0.02"},
                   {"filters", "each layer"},
                   {"goal", "energy, delta 8 %, rate 2"}};
  return data;
}

ReportData sample_error_report() {
  ReportData data{.title = "AutoQKeras search on sensors",
                  .metric = {.metric = "mae", .maximise = false},
                  .goal = "score = -validation mae / (1 + delta)."};
  data.references = {{.name = "int8", .energy_nj = 40.0}};
  data.trials = {{.number = 0, .score = -0.015, .value = 0.02, .energy_nj = 10.0},
                 {.number = 1, .score = -0.025, .value = 0.04, .energy_nj = 5.0},
                 {.number = 2, .score = -0.05, .value = 0.06, .energy_nj = 12.0}};
  data.hypervolume = HypervolumeGrowth{.axes = {{.metric = "mae", .maximise = false, .reference = 0.06},
                                                {.metric = "cost", .maximise = false, .reference = 12000}},
                                       .trials = 3,
                                       .steps = {{1, 0, 0, 80.0}, {2, 1, 0, 180.0}}};
  data.outcome = Outcome{.trial = 0, .loss = 0.0009, .energy_nj = 10.0, .score = -0.015, .value = 0.02};
  data.curves = {{.name = "trial 0",
                  .trial = 0,
                  .points = {{.epoch = 1, .loss = 0.005, .val_loss = 0.004, .mae = 0.06, .val_mae = 0.05},
                             {.epoch = 2, .loss = 0.001, .val_loss = 0.0009, .mae = 0.03, .val_mae = 0.02}}}};
  return data;
}

ReportData sample_training_report() {
  ReportData data{.title = "Training of fashion_mnist",
                  .model = {.name = "fashion_mnist", .parameters = 121930},
                  .dataset = {.name = "synthetic_digits",
                              .train_samples = 8000,
                              .test_samples = 2000,
                              .note = "fashion_mnist could not be fetched: synthetic digits stood in for it."}};
  data.outcome = Outcome{.accuracy = 0.9712, .loss = 0.0934};
  data.curves.push_back({.name = "float", .points = curve(0.0288, 12, 77)});
  data.settings = {{"epochs", "12"}, {"batch size", "1024"}, {"seed", "1"}};
  return data;
}

}  // namespace nibble::report
