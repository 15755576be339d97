#include "nibble/program/packed_integers.h"

namespace nibble::program {

using nlohmann::json;

json pack_weights(const std::vector<int32_t>& weights, int bits) {
  const bool signs = std::all_of(weights.begin(), weights.end(), [](int32_t w) { return w == -1 || w == 1; });
  if (!signs || weights.empty()) return pack(weights, bits);
  std::vector<int32_t> ones;
  for (const int32_t weight : weights) ones.push_back(weight > 0 ? -1 : 0);  // the bit of -1 is set
  json packed = pack(ones, 1);
  packed["signs"] = true;
  return packed;
}

PackedWeights unpack_weights(const json& packed) {
  PackedWeights result{unpack<int32_t>(packed), packed.at("bits").get<int>()};
  if (!packed.contains("signs")) return result;
  if (result.bits != 1) throw CorruptFile("[program] signs take one bit, not {}.", result.bits);
  for (int32_t& value : result.values) value = value != 0 ? 1 : -1;
  result.bits = 2;  // two's complement
  return result;
}

namespace {

// Sequence by sequence: its first value, its first difference, and how each difference differs from the one before.
struct Lines {
  std::vector<int64_t> starts, steps, bends;
};

int64_t sum(int64_t a, int64_t b) {
  int64_t result = 0;
  if (__builtin_add_overflow(a, b, &result)) throw CorruptFile("[program] a sequence of integers runs over.");
  return result;
}

void check_ends(const std::vector<int64_t>& first) {
  const bool rises = !first.empty() && first.front() == 0 && std::is_sorted(first.begin(), first.end());
  if (!rises) throw CorruptFile("[program] sequences do not lie one after the other.");
}

// Takes the next of `values`.
int64_t next(const std::vector<int64_t>& values, size_t& position) {
  if (position >= values.size()) throw CorruptFile("[program] a sequence of integers is cut off.");
  return values[position++];
}

}  // namespace

json pack_lines(const std::vector<int64_t>& values, const std::vector<int64_t>& first) {
  Lines lines;
  for (size_t s = 0; s + 1 < first.size(); ++s) {
    for (int64_t i = first[s]; i < first[s + 1]; ++i) {
      const auto at = static_cast<size_t>(i);
      const int64_t place = i - first[s];
      if (place == 0) lines.starts.push_back(values[at]);
      if (place == 1) lines.steps.push_back(values[at] - values[at - 1]);
      // Differences first: those of rising integers of 63 bits fit 64, twice such an integer need not.
      if (place > 1) lines.bends.push_back((values[at] - values[at - 1]) - (values[at - 1] - values[at - 2]));
    }
  }
  return {{"starts", pack(lines.starts)}, {"steps", pack(lines.steps)}, {"bends", pack(lines.bends)}};
}

std::vector<int64_t> unpack_lines(const json& packed, const std::vector<int64_t>& first) {
  check_ends(first);
  const Lines lines{unpack<int64_t>(packed.at("starts")), unpack<int64_t>(packed.at("steps")),
                    unpack<int64_t>(packed.at("bends"))};
  const auto count = static_cast<uint64_t>(first.back());
  if (count != lines.starts.size() + lines.steps.size() + lines.bends.size()) {
    throw CorruptFile("[program] sequences of {} integers hold {}.", count,
                      lines.starts.size() + lines.steps.size() + lines.bends.size());
  }
  std::vector<int64_t> values;
  size_t start = 0, step = 0, bend = 0;
  for (size_t s = 0; s + 1 < first.size(); ++s) {
    int64_t value = 0, difference = 0;
    for (int64_t place = 0; place < first[s + 1] - first[s]; ++place) {
      if (place == 0) {
        value = next(lines.starts, start);
      } else {
        difference = place == 1 ? next(lines.steps, step) : sum(difference, next(lines.bends, bend));
        value = sum(value, difference);
      }
      values.push_back(value);
    }
  }
  return values;
}

}  // namespace nibble::program
