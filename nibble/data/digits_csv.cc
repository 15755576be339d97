#include "nibble/data/digits_csv.h"

#include <charconv>
#include <string_view>

#include "nibble/core/error.h"
#include "nibble/data/input_stream.h"

namespace nibble::data {
namespace {

constexpr int kPixels = 64;
constexpr int kMaxPixel = 16;
constexpr int kMaxLabel = 9;
constexpr uint64_t kMaxFileBytes = uint64_t{1} << 28;  // the real files have less than 1 MB

// Where a line stands, for messages.
struct Place {
  const std::string& file;
  size_t line = 1;
  size_t offset = 0;
};

int parse_field(std::string_view field, int limit, const Place& place) {
  while (!field.empty() && field.front() == ' ') field.remove_prefix(1);
  while (!field.empty() && field.back() == ' ') field.remove_suffix(1);
  int value = -1;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
  if (error != std::errc{} || end != field.data() + field.size() || value < 0 || value > limit) {
    throw CorruptFile("[read_digits_csv] {} line {}, offset {}: '{}' is not a whole number from 0 to {}.", place.file,
                      place.line, place.offset, field.substr(0, 20), limit);
  }
  return value;
}

void parse_line(std::string_view line, Place place, std::vector<uint8_t>& pixels, std::vector<int32_t>& labels) {
  int fields = 0;
  for (size_t at = 0; at <= line.size(); ++fields) {
    const size_t comma = std::min(line.find(',', at), line.size());
    const std::string_view field = line.substr(at, comma - at);
    Place here = place;
    here.offset += at;
    if (fields < kPixels) {
      pixels.push_back(static_cast<uint8_t>(parse_field(field, kMaxPixel, here)));
    } else if (fields == kPixels) {
      labels.push_back(parse_field(field, kMaxLabel, here));
    }
    at = comma + 1;
  }
  if (fields != kPixels + 1) {
    throw CorruptFile("[read_digits_csv] {} line {}, offset {}: {} fields; a line has {} pixels and a label.",
                      place.file, place.line, place.offset, fields, kPixels);
  }
}

}  // namespace

Samples read_digits_csv(const std::filesystem::path& path) {
  InputStream in(path);
  const std::vector<uint8_t> bytes = in.read_rest(kMaxFileBytes);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::vector<uint8_t> pixels;
  std::vector<int32_t> labels;
  Place place{.file = in.name()};
  while (place.offset < text.size()) {
    const size_t end = std::min(text.find('\n', place.offset), text.size());
    std::string_view line = text.substr(place.offset, end - place.offset);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (!line.empty()) parse_line(line, place, pixels, labels);
    place.offset = end + 1;
    ++place.line;
  }
  if (labels.empty()) {
    throw CorruptFile("[read_digits_csv] {} offset 0: the file holds no line; {} pixels and a label are expected.",
                      in.name(), kPixels);
  }
  return Samples(Shape{8, 8, 1}, std::move(pixels), std::move(labels));
}

}  // namespace nibble::data
