#include "nibble/cli/energy_options.h"

#include <CLI/CLI.hpp>

#include "nibble/cli/choices.h"
#include "nibble/cli/command.h"
#include "nibble/cli/limits.h"

namespace nibble::cli {
namespace {

// "int8,quantized_bits(4,0,1)": commas inside parentheses belong to a quantizer.
std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> items(1);
  int depth = 0;
  for (const char c : text) {
    if (c == '(' || c == '[') ++depth;
    if (c == ')' || c == ']') --depth;
    if (c == ',' && depth == 0) {
      items.emplace_back();
    } else if (c != ' ' || depth > 0) {
      items.back() += c;
    }
  }
  return items;
}

std::vector<cost::QuantizerType> source_types(const std::string& text, cost::Compat compat) {
  std::vector<cost::QuantizerType> types;
  for (const std::string& item : split_list(text)) {
    try {
      types.push_back(cost::type_from_text(item, compat));
    } catch (const Error& error) {
      throw UsageError("--source-quantizers: '{}' is no type of number. {}", item, error.what());
    }
  }
  return types;
}

cost::EnergyRules rules_of(const std::vector<std::string>& texts) {
  cost::EnergyRules rules;
  for (const std::string& text : texts) {
    try {
      const auto [name, parts] = cost::parse_energy_rule(text);
      if (rules.emplace(name, parts).second) continue;
    } catch (const InvalidArgument& error) {
      throw UsageError("--include: {}", error.what());
    }
    throw UsageError("--include '{}': this class has a rule already; give each class one.", text);
  }
  return rules;
}

cost::Memory memory_of(const char* option, const std::string& word) {
  return choose<cost::Memory>(
      option, word, {{"sram", cost::Memory::kSram}, {"dram", cost::Memory::kDram}, {"fixed", cost::Memory::kFixed}});
}

void check(const EnergyCommandOptions& o) {
  if ((o.weights_given || o.fuse_batch_norm) && o.is_reference()) {
    throw UsageError("{} is for the model's own quantizers, which --reference {} leaves aside. Leave one of them out.",
                     o.weights_given ? "--weights-given" : "--fuse-batch-norm", o.reference);
  }
  if ((o.peak_ops > 0) != (o.bandwidth > 0)) {
    throw UsageError("--peak-ops and --bandwidth make a machine together; give both.");
  }
  if (o.min_sram_bits > cost::kLargestMemoryBits) {
    throw UsageError("--min-sram-bits is {}, more than any memory has; give at most {} (128 TiB).", o.min_sram_bits,
                     cost::kLargestMemoryBits);
  }
  if (o.has_machine() && !o.roofline) throw UsageError("--peak-ops and --bandwidth are for --roofline; add it.");
}

}  // namespace

cost::EnergyQuery query_of(const EnergyCommandOptions& o) {
  const auto reference = choose<cost::Reference>("--reference", o.reference,
                                                 {{"none", cost::Reference::kNone},
                                                  {"fp32", cost::Reference::kFp32},
                                                  {"fp16", cost::Reference::kFp16},
                                                  {"int8", cost::Reference::kInt8}});
  const auto compat = choose<cost::Compat>(
      "--compat", o.compat,
      {{"none", cost::Compat::kNone}, {"qkeras", cost::Compat::kQkeras}, {"qkeras-2020", cost::Compat::kQkeras2020}});
  check(o);
  cost::EnergyQuery query = cost::energy_query(reference, compat);
  if (!o.sources.empty()) query.types.sources = source_types(o.sources, compat);
  query.types.use_weights = o.weights_given;
  query.types.fuses_batch_norms = o.fuse_batch_norm;
  if (!o.weights_memory.empty()) query.energy.weights_on_memory = memory_of("--weights-memory", o.weights_memory);
  if (!o.activations_memory.empty()) {
    query.energy.activations_on_memory = memory_of("--activations-memory", o.activations_memory);
  }
  if (o.min_sram_bits >= 0) query.energy.min_sram_bits = o.min_sram_bits;
  if (o.io_on_dram) query.energy.rd_wr_on_io = true;
  query.energy.include = rules_of(o.include);
  query.energy.process = cost::named_process_table(o.process);
  return query;
}

void add_energy_options(CLI::App& app, EnergyCommandOptions& o) {
  add_model(app, o.model);
  add_weights(app, o.model);
  app.add_option("--reference", o.reference,
                 "none: the model's own quantizers; fp32, fp16, int8: as if everything were of that type")
      ->capture_default_str();
  app.add_option(
         "--compat", o.compat,
         "none; qkeras: QTools' numbers, defects included; qkeras-2020: the older rule of the AutoQKeras tutorial")
      ->capture_default_str();
  app.add_option("--process", o.process, "horowitz (45 nm), or the JSON file of a process table (docs/cost.md)")
      ->capture_default_str()
      ->type_name("NAME|FILE");
  app.add_option("--source-quantizers", o.sources,
                 "Types of the model's inputs, one for all or one each: int8,quantized_bits(4,0,1); else 8 bits")
      ->type_name("A,B,...");
  app.add_flag("--weights-given", o.weights_given,
               "Look at the trained weights too: values of powers of two, scales of alpha 'auto_po2'");
  app.add_flag("--fuse-batch-norm", o.fuse_batch_norm,
               "A QBatchNormalization with an inverse_quantizer shares the accumulator of the layer before it");
  app.add_option("--weights-memory,--parameters-on-memory", o.weights_memory, "sram, dram or fixed");
  app.add_option("--activations-memory,--activations-on-memory", o.activations_memory, "sram, dram or fixed");
  app.add_option("--min-sram-bits,--min-sram-size", o.min_sram_bits, "Smallest memory block")->check(not_negative());
  app.add_flag("--io-on-dram,--rd-wr-on-io", o.io_on_dram, "The model's inputs and outputs are on DRAM");
  app.add_option("--include", o.include,
                 "What counts of a layer class, such as QConv2D:inputs,op_cost or default:all; may be repeated")
      ->allow_extra_args(false)
      ->type_name("CLASS:PARTS");
  app.add_flag("--types", o.types, "The data type map too: types of inputs, weights, products, sums, outputs");
  app.add_flag("--summary", o.summary, "Multiplications, bit operations and memory of every layer too");
  app.add_flag("--roofline", o.roofline, "Operations, bytes and operations a byte too");
  app.add_option("--peak-ops", o.peak_ops,
                 "--roofline: operations a second of a machine, a product and its sum being 2")
      ->check(positive());
  app.add_option("--bandwidth", o.bandwidth, "--roofline: bytes a second of its memory")->check(positive());
  app.add_flag("--json", o.json,
               "Print {\"total_energy_pj\", \"layers\", \"counted_as\", \"operations\", \"memory\", ...}");
}

}  // namespace nibble::cli
