#include "nibble/experiment/ptq_qat_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace nibble::experiment {
namespace {

std::string number(std::optional<Accuracy> accuracy) {
  if (!accuracy) return "-";
  if (accuracy->seeds == 1) return fmt::format("{:.2f}", accuracy->median);
  return fmt::format("{:.2f} ({:.2f} .. {:.2f})", accuracy->median, accuracy->lowest, accuracy->highest);
}

const char* plural(int count) { return count == 1 ? "" : "s"; }

std::vector<int> sorted_bits(const PtqQatOptions& o) {
  std::vector<int> bits = o.bits;
  std::sort(bits.begin(), bits.end());
  return bits;
}

Cell base_cell(const std::string& dataset, const std::string& network) {
  return {.dataset = dataset, .with_batch_norm = network == "cnn_bn"};
}

Cell with(Cell cell, Method method, int bits) {
  cell.method = method;
  cell.bits = bits;
  return cell;
}

bool has(const PtqQatOptions& o, Method method) {
  return std::find(o.methods.begin(), o.methods.end(), method) != o.methods.end();
}

template <class Visit>
void for_each_network(const PtqQatOptions& o, Visit visit) {
  for (const std::string& dataset : o.datasets) {
    for (const std::string& network : o.networks) visit(base_cell(dataset, network));
  }
}

DocumentTable main_table(const PtqQatOptions& o, std::span<const FinishedCell> finished, const std::string& dataset) {
  DocumentTable table;
  table.headers = {"network, method"};
  for (const int bits : sorted_bits(o)) {
    table.headers.push_back(fmt::format("{} bits", bits));
    table.headers.push_back("published");
  }
  for (const std::string& network : o.networks) {
    const Cell base = base_cell(dataset, network);
    const auto add_row = [&](Method method) {
      std::vector<std::string> row = {fmt::format("{} {}", network, name(method))};
      for (const int bits : sorted_bits(o)) {
        const bool is_float = method == Method::kFloat || method == Method::kFineTuned;
        const Cell cell = with(base, method, is_float ? 0 : bits);
        const auto reference = published(cell);
        row.push_back(number(accuracy_of(finished, cell)));
        row.push_back(reference ? std::to_string(*reference) : "-");
      }
      table.rows.push_back(std::move(row));
    };
    add_row(Method::kFloat);
    for (const Method method : o.methods) {
      if (method != Method::kFloat) add_row(method);
    }
  }
  return table;
}

LinePlot main_plot(const PtqQatOptions& o, std::span<const FinishedCell> finished, const Cell& base) {
  LinePlot plot{.title = fmt::format("{} {}", base.dataset, base.network()),
                .x_label = "bits",
                .y_label = "accuracy, percent",
                .ticks = {},
                .lines = {}};
  for (const int bits : sorted_bits(o)) plot.ticks.push_back(std::to_string(bits));
  const auto add = [&](const std::string& line, Method method, bool is_published) {
    PlotLine result{.name = line, .y = {}, .is_dashed = is_published};
    for (const int bits : sorted_bits(o)) {
      const Cell cell = with(base, method, method == Method::kFloat ? 0 : bits);
      const auto own = accuracy_of(finished, cell);
      const auto reference = published(cell);
      std::optional<double> y;
      if (is_published && reference) y = *reference;
      if (!is_published && own) y = own->median;
      result.y.push_back(y);
    }
    const bool is_empty = std::none_of(result.y.begin(), result.y.end(), [](const auto& y) { return y.has_value(); });
    if (!is_empty) plot.lines.push_back(std::move(result));
  };
  add("float", Method::kFloat, false);
  for (const Method method : {Method::kPtq, Method::kQat, Method::kLsq}) {
    if (has(o, method)) add(std::string(name(method)), method, false);
  }
  for (const Method method : {Method::kPtq, Method::kQat}) {
    if (has(o, method)) add(fmt::format("published {}", name(method)), method, true);
  }
  return plot;
}

// The variation with the highest median of each column.
std::vector<std::string> best_row(const LinePlot& plot) {
  std::vector<std::string> row = {"best"};
  for (const PlotLine& line : plot.lines) {
    std::string best = "-";
    std::optional<double> highest;
    for (size_t i = 0; i < line.y.size(); ++i) {
      if (line.y[i] && (!highest || *line.y[i] > *highest)) highest = line.y[i], best = plot.ticks[i];
    }
    row.push_back(best);
  }
  return row;
}

// Of one study and network: a row a variation, a column a width.
void add_study(const std::string& study, const Cell& base, const PtqQatOptions& o,
               std::span<const FinishedCell> finished, Section& section) {
  std::vector<Cell> variations;  // of one width, in their order
  PtqQatOptions one = o;
  one.datasets = {base.dataset}, one.networks = {base.network()}, one.bits = {o.bits[0]}, one.seeds = 1;
  for (const Cell& cell : cells_of(one)) {
    if (cell.variation.study == study) variations.push_back(cell);
  }
  DocumentTable table{.headers = {fmt::format("{} {}", base.dataset, base.network())}, .rows = {}};
  LinePlot plot{.title = fmt::format("{} {}", base.dataset, base.network()),
                .x_label = study,
                .y_label = "accuracy, percent",
                .ticks = {},
                .lines = {}};
  for (const int bits : sorted_bits(o)) {
    table.headers.push_back(fmt::format("{} bits", bits));
    if (study == "bias-width") table.headers.push_back("saturated %");
    plot.lines.push_back({.name = fmt::format("{} bits", bits), .y = {}});
  }
  bool is_empty = true;
  for (Cell cell : variations) {
    std::vector<std::string> row = {cell.variation.name};
    for (size_t i = 0; i < sorted_bits(o).size(); ++i) {
      cell.bits = sorted_bits(o)[i];
      const auto accuracy = accuracy_of(finished, cell);
      is_empty = is_empty && !accuracy;
      row.push_back(number(accuracy));
      plot.lines[i].y.push_back(accuracy ? std::optional(accuracy->median) : std::nullopt);
      if (study != "bias-width") continue;
      const std::vector<double> shares = values_of(finished, cell, &CellResult::saturated_biases);
      row.push_back(shares.empty() ? "-" : fmt::format("{:.1f}", 100.0 * median(shares)));
    }
    plot.ticks.push_back(cell.variation.name);
    table.rows.push_back(std::move(row));
  }
  if (is_empty) return;
  if (study == "learning-rate" || study == "optimizer") table.rows.push_back(best_row(plot));
  section.tables.push_back(std::move(table));
  section.plots.push_back(std::move(plot));
}

std::string explanation(const std::string& study) {
  const std::map<std::string, std::string> texts = {
      {"bias-width",
       "Post-training quantization with biases of few bits: on the grid of their accumulators (narrow ones saturate), "
       "and with a scale of their own (\"own\")."},
      {"learning-rate",
       "QAT with SGD (momentum 0.9, cosine), measured on the last tenth of the training part, which neither network "
       "saw. A training that diverges has 0. The original's law says: fewer bits, lower learning rate."},
      {"optimizer", "QAT with Adam and with SGD at several learning rates, measured as the study of learning rates."},
      {"ablation",
       "Post-training quantization with one mistake of the original at a time (numbers as in the specification), and "
       "with all of them. D1 divides by the variance where it should be the standard deviation: the collapse of the "
       "published batch-norm figures. D3 lets the calibration batches move the batch norms' statistics, D2 moves them "
       "backwards, to nine tenths of each batch."},
      {"master-weights",
       "QAT as it is, and with the original's mistake D4: the quantized kernels of convolutions overwrite the float "
       "ones in every step, so that a step smaller than half a code is lost. As in the original, dense layers keep "
       "their weights, and so do networks with batch norms."},
      {"weights",
       "Post-training quantization with one scale a kernel and with one a channel, each with cross-layer equalization, "
       "bias correction, and AdaRound."},
      {"calibration", "Post-training quantization by each rule for the ranges of activations."}};
  const auto found = texts.find(study);
  return found == texts.end() ? "" : found->second;
}

std::string teachers(const PtqQatOptions& o) {
  if (o.teachers.empty()) return "";
  std::vector<std::string> taught;
  for (const auto& [dataset, teacher] : o.teachers) {
    const std::string who = teacher.model.empty() ? "the float network" : teacher.model.filename().string();
    taught.push_back(fmt::format("{} for {}", who, dataset));
  }
  return fmt::format(", with a teacher (weight {}, temperature {}): {}", o.teacher_weight, o.temperature,
                     fmt::join(taught, ", "));
}

std::string of_few_bits(const PtqQatOptions& o) {
  if (o.few_bits_learning_rate == o.qat_learning_rate) return "";
  return fmt::format(" ({} for QAT with less than 6 bits)", o.few_bits_learning_rate);
}

// How QAT and fine-tuning go on from float training.
std::string recipe(const PtqQatOptions& o) {
  std::string text = fmt::format(
      "QAT and fine-tuning go on from there for {} epoch{} of SGD, momentum 0.9, batches of {}, learning rate {}{} "
      "falling to 0",
      o.qat_epochs, plural(o.qat_epochs), o.qat_batch_size, o.qat_learning_rate, of_few_bits(o));
  const bool has_batch_norms = std::find(o.networks.begin(), o.networks.end(), "cnn_bn") != o.networks.end();
  const Cell tuned{.dataset = o.datasets.front(), .with_batch_norm = has_batch_norms, .method = Method::kFineTuned};
  if (const double decay = weight_decay_of(tuned, o)) {
    text += fmt::format(", weight decay {}{}", decay, o.qat_weight_decay ? "" : " of networks with batch norms");
  }
  text += teachers(o);
  for (const std::string& dataset : o.datasets) {
    const data::Augmentation augmentation = qat_augmentation_of(o, dataset);
    if (augmentation.is_none()) continue;
    text += fmt::format(", images of {} changed at random ({})", dataset, data::to_string(augmentation));
  }
  text += ".";
  if (!o.augmentation.is_none()) {
    text += fmt::format(" Float training changes its images at random too: {}.", data::to_string(o.augmentation));
  }
  if (has(o, Method::kPtq) && o.corrects_biases) {
    text +=
        " PTQ corrects biases by the mean of each output on its samples; studies do not, but for two variants of "
        "weights.";
  }
  const bool has_few_bits = std::any_of(
      o.bits.begin(), o.bits.end(), [](int bits) { return affine::usual_range_rule(bits) == affine::RangeRule::kMse; });
  if (has(o, Method::kQat) && has_few_bits) {
    text += " QAT's ranges follow the batches: below 6 bits those of least squared error, else the extremes.";
  }
  if (has_batch_norms && (has(o, Method::kQat) || has(o, Method::kLsq))) {
    text += " QAT and LSQ merge batch norms into the kernels in each step, with the batch's statistics";
    const Cell few{.dataset = o.datasets.front(), .with_batch_norm = true, .method = Method::kQat, .bits = 4};
    if (const auto epochs = batch_norms_freeze_at(few, o)) {
      text += fmt::format(", from {} epochs on with stored ones{}", *epochs,
                          o.freeze_batch_norm ? "" : " where bits are less than 6");
    }
    text += "; PTQ before.";
  }
  return text;
}

std::string margin_text(double margin) { return fmt::format("{:+.2f}", margin); }

// Each line once, then every claim.
Section claims_section(const PtqQatOptions& o, std::span<const FinishedCell> finished) {
  const std::vector<Claim> claims = claims_of(o, finished);
  const auto holding = std::count_if(claims.begin(), claims.end(), [](const Claim& claim) { return claim.holds; });
  Section section{.title = "What a right implementation reaches"};
  section.paragraphs = {
      fmt::format("{} of {} claims hold, of medians over the seeds that have all cells of a claim "
                  "({} asked for). Margins are points; in brackets those of single seeds.",
                  holding, claims.size(), o.seeds)};
  DocumentTable lines{.headers = {"claim", "holds", "smallest margin", "where"}, .rows = {}};
  for (const ClaimLine& line : lines_of(claims)) {
    lines.rows.push_back({line.line, fmt::format("{} of {}", line.holding, line.claims),
                          margin_text(line.closest.margin), line.closest.text});
  }
  DocumentTable all{.headers = {"claim", "holds", "margin", "seeds"}, .rows = {}};
  for (const Claim& claim : claims) {
    std::string margin = margin_text(claim.margin);
    if (claim.seeds > 1) margin += fmt::format(" ({} .. {})", margin_text(claim.lowest), margin_text(claim.highest));
    all.rows.push_back({claim.text, claim.holds ? "yes" : "NO", margin, std::to_string(claim.seeds)});
  }
  section.tables = {std::move(lines), std::move(all)};
  return section;
}

// What the default leaves out, since it takes several times as long as the table.
Section other_studies_section(const PtqQatOptions& o, const std::string& command) {
  return {.title = "Studies not computed",
          .paragraphs = {fmt::format("Of {}.", fmt::join(other_studies(o), ", ")),
                         fmt::format("They are computed by: {}", command)}};
}

}  // namespace

std::vector<std::string> other_studies(const PtqQatOptions& o) {
  std::vector<std::string> others;
  for (const std::string& study : study_names()) {
    if (std::find(o.studies.begin(), o.studies.end(), study) == o.studies.end()) others.push_back(study);
  }
  return others;
}

Document ptq_qat_document(const PtqQatOptions& o, std::span<const FinishedCell> finished,
                          const std::string& studies_command) {
  Document document{.title = "Post-training quantization and quantization-aware training", .sections = {}};
  Section main{.title = "Accuracy"};
  main.paragraphs = {
      fmt::format(
          "Percent of correct classes; median over {} seed{} (lowest .. highest). Float training: {} epoch{} of "
          "Adam, learning rate {}, batches of {}{}. {}",
          o.seeds, plural(o.seeds), o.epochs, plural(o.epochs), o.learning_rate, kBatchSize,
          o.train_samples > 0 ? fmt::format(", on {} training samples", o.train_samples) : "", recipe(o)),
      "Published: raywan-110/Quantization-DNNs, whole percent, one seed. Its CIFAR-10 figures are of the test images; "
      "here training leaves out batch 5 and accuracy is on its 10,000 images. Input, weights and activations have the "
      "bits of the column, logits 8 at least, biases 32; weights a scale for each output channel."};
  for (const std::string& dataset : o.datasets) main.tables.push_back(main_table(o, finished, dataset));
  for_each_network(o, [&](const Cell& base) { main.plots.push_back(main_plot(o, finished, base)); });
  document.sections.push_back(std::move(main));

  document.sections.push_back(claims_section(o, finished));

  for (const std::string& study : study_names()) {
    if (std::find(o.studies.begin(), o.studies.end(), study) == o.studies.end()) continue;
    Section section{.title = "Study: " + study, .paragraphs = {explanation(study)}};
    for_each_network(o, [&](const Cell& base) { add_study(study, base, o, finished, section); });
    document.sections.push_back(std::move(section));
  }
  if (!studies_command.empty() && !other_studies(o).empty()) {
    document.sections.push_back(other_studies_section(o, studies_command));
  }
  return document;
}

}  // namespace nibble::experiment
