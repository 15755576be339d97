#include "nibble/experiment/claims.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace nibble::experiment {
namespace {

using BySeed = std::map<uint64_t, double>;

BySeed accuracies_of(std::span<const FinishedCell> finished, Cell cell) {
  BySeed accuracies;
  for (const FinishedCell& f : finished) {
    cell.seed = f.cell.seed;
    if (f.cell.key() == cell.key()) accuracies[cell.seed] = f.result.accuracy;
  }
  return accuracies;
}

template <class Change>
BySeed changed(BySeed values, Change change) {
  for (auto& [seed, value] : values) value = change(value);
  return values;
}

BySeed less(const BySeed& values, double points) {
  return changed(values, [points](double value) { return value - points; });
}

// A hair's breadth is none: 90 - 0.3 is not 89.7 in binary.
double without_rounding(double margin) { return std::abs(margin) < 1e-9 ? 0.0 : margin; }

enum class Bound { kNotBelow, kAbove };

// Collects the claims of one network.
class Claims {
 public:
  Claims(std::span<const FinishedCell> finished, Cell base, std::vector<Claim>& claims)
      : finished_(finished), base_(std::move(base)), claims_(claims) {}

  void add_width(int bits);
  // The published figure of one cell.
  void add_published(Method method, int bits);

 private:
  Cell with(Method method, int bits) const {
    Cell cell = base_;
    cell.method = method;
    cell.bits = bits;
    return cell;
  }
  BySeed of(Method method, int bits) const { return accuracies_of(finished_, with(method, bits)); }
  // value >= least, or > least, on every seed that has both; nothing is claimed if none has.
  void add(const std::string& line, const std::string& text, const BySeed& value, const BySeed& least,
           Bound bound = Bound::kNotBelow);

  std::span<const FinishedCell> finished_;
  Cell base_;
  std::vector<Claim>& claims_;
};

void Claims::add(const std::string& line, const std::string& text, const BySeed& value, const BySeed& least,
                 Bound bound) {
  std::vector<double> values, leasts, margins;
  for (const auto& [seed, own] : value) {
    const auto found = least.find(seed);
    if (found == least.end()) continue;
    values.push_back(own);
    leasts.push_back(found->second);
    margins.push_back(without_rounding(own - found->second));
  }
  if (values.empty()) return;
  for (std::vector<double>* each : {&values, &leasts, &margins}) std::sort(each->begin(), each->end());
  const double margin = without_rounding(median(values) - median(leasts));
  claims_.push_back({.line = line,
                     .text = fmt::format("{}: {} {}", text, base_.dataset, base_.network()),
                     .margin = margin,
                     .holds = bound == Bound::kAbove ? margin > 0 : margin >= 0,
                     .lowest = margins.front(),
                     .highest = margins.back(),
                     .seeds = static_cast<int>(values.size())});
}

void Claims::add_published(Method method, int bits) {
  const auto reference = published(with(method, bits));
  if (!reference) return;
  const BySeed value = of(method, bits);
  const BySeed least = changed(value, [&](double) { return static_cast<double>(*reference); });
  const std::string what = bits == 0 ? std::string(name(method)) : fmt::format("{}-bit {}", bits, name(method));
  add("above the published figure", fmt::format("{} above the published {}", what, *reference), value, least,
      Bound::kAbove);
  add("in whole percents not below the published figure",
      fmt::format("{} in whole percents not below the published {}", what, *reference),
      changed(value, [](double percent) { return std::round(percent); }), least);
}

void Claims::add_width(int bits) {
  const bool is_fashion = base_.dataset == "fashion_mnist";
  const double ptq_loss = bits >= 8 ? 0.5 : bits >= 6 ? 1.0 : is_fashion ? 3.0 : 6.0;
  const double qat_loss = bits >= 6 ? 0.3 : is_fashion ? 1.0 : 3.0;
  const BySeed real = of(Method::kFloat, 0), ptq = of(Method::kPtq, bits), qat = of(Method::kQat, bits);
  const auto add_line = [&](const std::string& line, const BySeed& value, const BySeed& least) {
    add(line, line, value, least);
  };
  add_line(fmt::format("{}-bit PTQ within {} of float", bits, ptq_loss), ptq, less(real, ptq_loss));
  add_line(fmt::format("{}-bit QAT within {} of float", bits, qat_loss), qat, less(real, qat_loss));
  add("QAT not below PTQ", fmt::format("{}-bit QAT not below PTQ", bits), qat, ptq);
  if (bits == 4) add_line("4-bit LSQ not below QAT", of(Method::kLsq, bits), qat);
  for (const Method method : {Method::kPtq, Method::kQat}) {
    add_published(method, bits);
    if (!base_.with_batch_norm) continue;
    Cell plain = with(method, bits);
    plain.with_batch_norm = false;
    add("batch norms not below the plain network",
        fmt::format("{}-bit {}: batch norms not below the plain network", bits, name(method)), of(method, bits),
        accuracies_of(finished_, plain));
  }
}

}  // namespace

std::vector<double> values_of(std::span<const FinishedCell> finished, Cell cell, double CellResult::*field) {
  std::vector<double> values;
  for (const FinishedCell& f : finished) {
    cell.seed = f.cell.seed;
    if (f.cell.key() == cell.key()) values.push_back(f.result.*field);
  }
  std::sort(values.begin(), values.end());
  return values;
}

double median(std::span<const double> values) {
  const size_t n = values.size();
  return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

std::optional<Accuracy> accuracy_of(std::span<const FinishedCell> finished, const Cell& cell) {
  const std::vector<double> values = values_of(finished, cell, &CellResult::accuracy);
  if (values.empty()) return std::nullopt;
  return Accuracy{.median = median(values),
                  .lowest = values.front(),
                  .highest = values.back(),
                  .seeds = static_cast<int>(values.size())};
}

std::vector<Claim> claims_of(const PtqQatOptions& o, std::span<const FinishedCell> finished) {
  std::vector<int> widths = o.bits;
  std::sort(widths.begin(), widths.end());
  std::vector<Claim> result;
  for (const std::string& dataset : o.datasets) {
    for (const std::string& network : o.networks) {
      Claims claims(finished, {.dataset = dataset, .with_batch_norm = network == "cnn_bn"}, result);
      claims.add_published(Method::kFloat, 0);
      for (const int bits : widths) claims.add_width(bits);
    }
  }
  return result;
}

std::vector<ClaimLine> lines_of(std::span<const Claim> claims) {
  std::vector<ClaimLine> lines;
  for (const Claim& claim : claims) {
    auto found = std::find_if(lines.begin(), lines.end(), [&](const ClaimLine& l) { return l.line == claim.line; });
    if (found == lines.end()) {
      lines.push_back({.line = claim.line, .closest = claim});
      found = lines.end() - 1;
    }
    ++found->claims;
    if (claim.holds) ++found->holding;
    // Of equal margins, one that fails.
    const bool is_closer = claim.margin < found->closest.margin ||
                           (claim.margin == found->closest.margin && !claim.holds && found->closest.holds);
    if (is_closer) found->closest = claim;
  }
  return lines;
}

}  // namespace nibble::experiment
